//! Writes a demo page of an evaluation with made-up numbers, to look at: `cargo run -p pentimento-report --example
//! demo_evaluation -- FILE`

mod demo;

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file =
        std::env::args_os().nth(1).map_or_else(|| PathBuf::from("demo-evaluation.html"), PathBuf::from);
    std::fs::write(file, pentimento_report::render_evaluation(&demo::view()))?;
    Ok(())
}
