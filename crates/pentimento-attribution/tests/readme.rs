//! The README's table of methods against the table that the program works by.

#![allow(clippy::unwrap_used, reason = "tests")]

use pentimento_attribution::methods::Method;

#[test]
fn the_readme_lists_every_method_once() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| `--method` |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    // The first cell of a row has names between backticks: every second piece.
    let mut listed: Vec<&str> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    listed.sort_unstable();
    let mut names = Method::ALL.map(|method| method.name);
    names.sort_unstable();
    assert_eq!(listed, names);
}
