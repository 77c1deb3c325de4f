//! Settings of the command line, which replace values of a recipe before it is read.

/// Before a key it says that the key, or the section, is taken out of a recipe.
pub const TAKE_OUT: char = '!';

/// Applies `a.b=value` to a table; the value is TOML, or a string if it is not; [`TAKE_OUT`] before a
/// key or a section takes it out.
pub(super) fn set(table: &mut toml::Table, setting: &str) -> Result<(), String> {
    if let Some(path) = setting.strip_prefix(TAKE_OUT) {
        return take_out(table, path);
    }
    let (path, value) = setting.split_once('=').ok_or("write it as `section.key=value`")?;
    let value = match value.trim().parse::<toml::Value>() {
        Ok(value) => value,
        // A whole line that is not TOML is a word, as in `codes.kind=drawn`. Of several lines the first may be a value
        // and the rest another setting; none of it is passed over.
        Err(error) if value.contains(['\n', '\r']) => {
            let text = error.message();
            return Err(format!("the value has several lines and is not one TOML value: {text}"));
        }
        Err(_) => toml::Value::String(value.into()),
    };
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut place = table;
    for key in keys {
        let entry = place.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = entry.as_table_mut().ok_or_else(|| format!("`{key}` is not a section"))?;
    }
    place.insert(last.into(), value);
    // The images have one source: another one takes the place of that which the recipe names.
    let others: &[&str] = match path {
        "data.path" => &["set", "images", "labels"],
        "data.set" => &["path", "images", "labels", "background"],
        "data.images" | "data.labels" => &["set", "path"],
        _ => &[],
    };
    for other in others {
        place.remove(*other);
    }
    Ok(())
}

/// Takes a key or a section out. One that is not there is refused: it may be written wrongly, and the one that was meant would stay.
fn take_out(table: &mut toml::Table, path: &str) -> Result<(), String> {
    let (sections, key) = match path.rsplit_once('.') {
        Some((sections, key)) => (sections.split('.').collect(), key),
        None => (Vec::new(), path),
    };
    let mut place = Some(table);
    for section in sections {
        place = place.and_then(|table| table.get_mut(section)?.as_table_mut());
    }
    let taken = place.and_then(|table| table.remove(key));
    taken.map(drop).ok_or_else(|| "the recipe does not have it".into())
}

#[cfg(test)]
mod tests {
    use crate::error::RunError;
    use crate::recipe::Origin;
    use crate::recipe::tests::with;

    #[test]
    fn settings_are_toml_values_or_words() {
        let recipe = with(&["seed= 9", "description=two words", "data.preprocessing.classes=[\n1,\n 2\n]"]);
        let recipe = recipe.unwrap();
        assert_eq!((recipe.seed, &recipe.description[..]), (9, "two words"));
        assert_eq!(recipe.data.preprocessing.classes, Some(vec![1, 2]));
        let recipe = with(&["description='''two\nlines'''"]).unwrap();
        assert_eq!(recipe.description, "two\nlines");
    }

    #[test]
    fn another_source_of_images_takes_the_place_of_the_one_before() {
        let data = with(&["data.path=/pictures"]).unwrap().data;
        assert_eq!((data.set, data.path.as_deref()), (None, Some(std::path::Path::new("/pictures"))));
        let data =
            with(&["data.path=/pictures", "data.background=[0, 0, 0]", "data.set=cifar10"]).unwrap().data;
        assert!(data.set.is_some() && data.path.is_none() && data.background.is_none());
        // Both of them together are one source.
        let data = with(&["data.images=/i", "data.labels=/l"]).unwrap().data;
        assert!(data.set.is_none() && data.images.is_some() && data.labels.is_some());
    }

    #[test]
    fn a_mark_takes_a_key_or_a_section_out() {
        let recipe = with(&["data.preprocessing.classes=[1, 2]", "classifier.epochs=2", "seed=9"]).unwrap();
        assert!(recipe.classifier.is_some() && recipe.data.preprocessing.classes.is_some());
        let recipe = with(&[
            "data.preprocessing.classes=[1, 2]",
            "classifier.epochs=2",
            "seed=9",
            "!classifier",
            "!data.preprocessing.classes",
            "!seed",
        ]);
        assert_eq!(recipe.unwrap(), with(&[]).unwrap());
        // What is not there is named; `none` is a value like others.
        for absent in ["!bank.table", "!seed.x", "!classifer", "!"] {
            let error = with(&["seed=9", absent]);
            assert!(
                matches!(&error, Err(RunError::Setting { setting, .. }) if setting == absent),
                "{error:?}"
            );
        }
        assert_eq!(with(&["description=none"]).unwrap().description, "none");
        // What every recipe needs is missing then.
        assert!(matches!(with(&["!name"]), Err(RunError::Recipe { .. })));
    }

    #[test]
    fn nothing_after_a_value_is_passed_over() {
        for setting in [
            "training.steps=3\nseed=9",
            "training.steps=3\n",
            "training.steps=3\r\nbatch=4",
            "description=\"a\"\n[samples]\ncount=1",
            "description=one\ntwo",
        ] {
            let error = with(&[setting]);
            if setting == "training.steps=3\n" {
                // A newline alone says nothing.
                let Origin::Trained(trained) = error.unwrap().origin else { panic!("{setting}") };
                assert_eq!(trained.training.steps, 3);
                continue;
            }
            match error {
                Err(RunError::Setting { setting: named, problem }) => {
                    assert_eq!(named, setting);
                    assert!(problem.contains("several lines"), "{problem}");
                }
                other => panic!("{setting}: {other:?}"),
            }
        }
    }
}
