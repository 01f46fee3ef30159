//! The drawn code.

use fast_qr::{
    ECL, QRBuilder,
    convert::{Builder, svg::SvgBuilder},
};

/// An SVG image of a QR code, its quiet zone of four modules included (ISO 18004, 5.3.8).
pub(super) fn svg(text: &str) -> String {
    // Medium correction: a screen has no dirt, but it has reflections.
    match QRBuilder::new(text).ecl(ECL::M).build() {
        Ok(code) => SvgBuilder::default().margin(4).to_str(&code),
        // Only a text beyond three thousand characters does not fit; a public URL has its limits.
        Err(_) => String::new(),
    }
}
