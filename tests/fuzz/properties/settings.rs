//! The configuration: no value makes the start panic, and every refusal names its variable.

use scanlogin::{
    config::{Config, Parsed, Values, table::SETTINGS},
    keys::Entropy,
};

/// Lines of `<number of a setting><value>`; the number is one byte. Files are left out: any path is
/// a path, and reading a device may never end.
pub(crate) fn settings(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').filter_map(|line| {
        let (number, value) = line.split_first()?;
        let setting = &SETTINGS[usize::from(*number) % SETTINGS.len()];
        let value = String::from_utf8(value.to_vec()).ok()?;
        (!setting.env.ends_with("_FILE")).then(|| (setting.env.to_owned(), value))
    });
    let Ok(parsed) = Values::read(["scanlogin".into()], lines) else {
        panic!("all names are known")
    };
    let Parsed::Run(values) = parsed else { return };
    if let Err(error) = Config::from_values(&values, Entropy::Fixed(1)) {
        let text = error.to_string();
        assert!(text.starts_with(error.variable()), "{text}");
        let known = SETTINGS.iter().any(|setting| setting.env == error.variable());
        assert!(known, "{text}");
        assert!(!text.contains('\n'), "one line: {text:?}");
    }
}
