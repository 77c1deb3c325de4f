//! Odd prompts, and tokenizers whose files differ, against what transformers makes of them (`prompts/make.py`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::{case_with, copy_of};
use pentimento_encoders::text::ClipTokenizer;
use serde_json::Value;

#[test]
fn odd_prompts() {
    let expected: Value = serde_json::from_str(include_str!("prompts/prompts.json")).unwrap();
    let folder = case_with("tokenizer/tokenizer.json").join("tokenizer");
    let mut wrong = Vec::new();
    for case in expected["cases"].as_array().unwrap() {
        let copy = copy_of(&folder);
        for (file, content) in case["files"].as_object().unwrap() {
            let path = copy.path().join(file);
            let _ = std::fs::remove_file(&path);
            if !content.is_null() {
                std::fs::write(path, content.to_string()).unwrap();
            }
        }
        let tokenizer = ClipTokenizer::open(copy.path()).unwrap();
        assert_eq!(Value::from(tokenizer.padding().1), case["padding"], "{}", case["name"]);
        let prompts = expected["prompts"].as_array().unwrap();
        for (prompt, ids) in prompts.iter().zip(case["ids"].as_array().unwrap()) {
            let found = Value::from(tokenizer.ids(prompt.as_str().unwrap()));
            if &found != ids {
                wrong.push(format!("{}: {prompt}: {found}, not {ids}", case["name"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
