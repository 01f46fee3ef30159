//! `tests/faults` and the variables that it sets: what is no number is refused, never replaced.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use super::history::VARIABLES;

/// Runs the script. In place of cargo, which would wait for the one that runs this test, stands what
/// says how it was called.
fn script(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let cargo = directory.path().join("cargo");
    let says = "#!/bin/sh\necho \"$FAULT_SEEDS $FAULT_FROM $FAULT_AT_ONCE: $*\"\n";
    std::fs::write(&cargo, says).expect("a file");
    let executable = PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&cargo, executable).expect("our own file");
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults"))
        .args(arguments)
        .env("PATH", format!("{}:/usr/bin:/bin", directory.path().display()))
        .output()
        .expect("the script")
}

#[test]
fn the_fault_script_hands_on_what_it_was_given() {
    for (arguments, wanted) in [
        (&[][..], "10 1 3: "),
        (&["--seeds", "100", "--from", "401"], "100 401 3: "),
        (&["--from", "0", "--at-once", "1", "--seeds", "1"], "1 0 1: "),
    ] {
        let output = script(arguments);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(said.starts_with(wanted) && said.contains("faults::history"), "{said}");
    }
}

#[test]
fn the_fault_script_refuses_what_is_no_number() {
    for (arguments, wanted) in [
        (&["--seeds", "ten"][..], "--seeds"),
        (&["--seeds", ""], "--seeds"),
        (&["--seeds", "0"], "--seeds"),
        (&["--seeds", "-1"], "--seeds"),
        (&["--seeds", "1e3"], "--seeds"),
        (&["--seeds", "10 "], "--seeds"),
        (&["--seeds"], "--seeds"),
        (&["--from", "4O1"], "--from"),
        (&["--from", "--seeds", "1"], "--from"),
        (&["--from", "99999999999999999999"], "--from"),
        (&["--seeds", "1", "--at-once", "0"], "--at-once"),
        (&["--at-once", "all"], "--at-once"),
        (&["--seed", "1"], "--seed"),
        (&["10"], "10"),
    ] {
        let output = script(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(&format!("tests/faults: {wanted} ")), "{arguments:?}: {said}");
        assert!(said.contains("usage: tests/faults --seeds N"), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}: nothing is run");
    }
}

#[test]
fn a_variable_of_the_fault_script_that_is_no_number_fails_the_run_and_is_named() {
    for variable in VARIABLES {
        for value in ["", "ten", "-1", "1.5", "99999999999999999999"] {
            let output = Command::new(std::env::current_exe().expect("this binary"))
                .args([
                    "--exact",
                    "faults::history::every_history_under_random_faults_keeps_the_rules",
                ])
                .env("FAULT_SEEDS", "1")
                .env(variable, value)
                .output()
                .expect("this binary");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(!output.status.success(), "{variable}='{value}': {said}");
            assert!(said.contains(&format!("{variable} is '{value}'")), "{said}");
        }
    }
}
