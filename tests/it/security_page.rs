//! What docs/security.md says is tested is tested.

use std::path::Path;

use crate::readme::sources;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The names of tests in a text: sentences in snake case, in backticks.
fn names(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let sentence = |name: &&str| {
        name.matches('_').count() >= 4
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    quoted.filter(sentence).collect()
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/security.md")).expect("a page");
    let tests = sources(&Path::new(ROOT).join("tests/it"));
    let named = names(&page);
    assert!(named.len() >= 20, "its form has changed: {named:?}");
    for name in named {
        assert!(tests.contains(&format!("fn {name}(")), "no test {name}");
    }
    for file in
        page.split([' ', ',', '|', '(', ')', '\n']).filter(|word| word.starts_with("tests/"))
    {
        let file = file.trim_matches(['`', '.']);
        assert!(Path::new(ROOT).join(file).exists(), "no file {file}");
    }
}

/// The mitigations of RFC 10027, in the order and by the names of its section 6.1.
const MITIGATIONS: [&str; 17] = [
    "Establish Proximity",
    "Short-Lived/Time-Bound QR or User Codes",
    "One-Time or Limited-Use Codes",
    "Unique Codes",
    "Content Filtering",
    "Detect and Remediate",
    "Trusted Devices",
    "Trusted Networks",
    "Limited Scopes",
    "Short-Lived Tokens",
    "Rate Limits",
    "Sender-Constrained Tokens",
    "User Education",
    "User Experience",
    "Authenticate then Initiate",
    "Request Initiation Verification",
    "Request Binding with Out-of-Band Data",
];

#[test]
fn all_seventeen_mitigations_have_an_answer_and_what_we_have_has_a_test() {
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/security.md")).expect("a page");
    let (_, section) = page.split_once("## The 17 mitigations").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| mitigation"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let named: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(named, MITIGATIONS);
    for row in rows {
        let [mitigation, have, why] = row[..] else { panic!("three columns: {row:?}") };
        assert!(why.len() > 15, "{mitigation}: says why");
        match have {
            "yes" | "partly" => assert!(!names(why).is_empty(), "{mitigation}: by which test?"),
            "host" | "can't" | "no" | "see below" => {}
            other => panic!("{mitigation}: '{other}'"),
        }
    }
}
