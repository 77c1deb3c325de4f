//! Writes a demo page from drawn digits, to look at: `cargo run -p pentimento-report --example demo_report --
//! FILE`

mod demo;

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("demo-report.html"), PathBuf::from);
    let page = pentimento_report::render(&demo::view(60, 14))?;
    std::fs::write(file, page)?;
    Ok(())
}
