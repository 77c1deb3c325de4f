//! The script that measures against PyTorch: what it says without PyTorch. What it measures is no matter of tests.

use std::process::{Command, Output};

use pentimento_testing::skipped;

/// Runs the script with an interpreter that sees no installed package.
fn script(arguments: &[&str]) -> Option<Output> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/vs_pytorch.py");
    let output = Command::new("python3").args(["-E", "-s", "-S", file]).args(arguments).output();
    if output.is_err() {
        skipped("python3", format!("nothing runs {file}"));
    }
    output.ok()
}

#[test]
fn help_names_every_piece_of_work() {
    let Some(output) = script(&["--help"]) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for word in ["--only", "--rounds", "--quick", "train-small", "train-large", "jacobian", "convolution"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn without_pytorch_it_says_how_to_install_it() {
    let Some(output) = script(&["--quick"]) else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains("pip install -r") && text.contains("requirements.txt"), "{text}");
    assert!(!text.contains("Traceback"), "{text}");
}

#[test]
fn unknown_work_and_no_rounds_are_refused() {
    for (arguments, word) in [(["--only", "dancing"], "dancing"), (["--rounds", "0"], "--rounds")] {
        let Some(output) = script(&arguments) else { return };
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(word) && !text.contains("Traceback"), "{text}");
    }
}
