//! Where the files are that a recipe names.

use std::path::Path;

/// The keys that hold a path.
const PATHS: [[&str; 2]; 6] = [
    ["data", "path"],
    ["data", "images"],
    ["data", "labels"],
    ["codes", "table"],
    ["bank", "table"],
    ["base", "folder"],
];

/// Makes relative paths absolute: those in `folder`, which is itself relative to the working folder.
pub(super) fn resolve(table: &mut toml::Table, folder: &Path) {
    for [section, key] in PATHS {
        let value = table.get_mut(section).and_then(|section| section.get_mut(key));
        let Some(toml::Value::String(path)) = value else { continue };
        if let Ok(absolute) = std::path::absolute(folder.join(&path)) {
            *path = absolute.display().to_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_folder_unless_they_are_absolute() {
        let mut table: toml::Table =
            "data.path = \"cats\"\ncodes.table = \"/t.csv\"\nname = \"data.path\"".parse().unwrap();
        resolve(&mut table, Path::new("/sets"));
        assert_eq!(table["data"]["path"].as_str(), Some("/sets/cats"));
        assert_eq!(table["codes"]["table"].as_str(), Some("/t.csv"));
        assert_eq!(table["name"].as_str(), Some("data.path"));
        // And those of the working folder.
        let mut table: toml::Table = "data.images = \"cats\"".parse().unwrap();
        resolve(&mut table, Path::new(""));
        let here = std::env::current_dir().unwrap().join("cats");
        assert_eq!(table["data"]["images"].as_str(), here.to_str());
    }
}
