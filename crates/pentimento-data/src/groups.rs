//! Images that are traced as one: a group is one "super sample" whose members share a code, so that leaving it out
//! leaves out all of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::csv_table::{line_at, line_error, table_error};
use crate::error::DataError;
use crate::image::ImageId;
use crate::names::composed;
use crate::preprocessing::PreparedSet;
use crate::source::listed;

/// A partition of the images of a set. Every image is in one group, and no group is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Groups {
    names: Vec<String>,
    group_of: Vec<u32>,
}

impl Groups {
    /// Every image by itself, named by its position in the source set.
    pub fn by_image(set: &PreparedSet) -> Self {
        Self {
            names: set.source_indices().iter().map(usize::to_string).collect(),
            group_of: (0..).take(set.len()).collect(),
        }
    }

    /// One group for each label that occurs, in the order of the labels, named by its class.
    ///
    /// # Errors
    /// If a label has no name, or two labels that occur have the same one.
    pub fn by_class<S: AsRef<str>>(labels: &[u32], class_names: &[S]) -> Result<Self, DataError> {
        let value_error = |field, value: String, bound: String| DataError::Value { field, value, bound };
        let mut label_of = BTreeMap::new();
        for &label in labels {
            let Some(name) = class_names.get(label as usize) else {
                let bound = format!("below {}, the number of class names", class_names.len());
                return Err(value_error("a label", label.to_string(), bound));
            };
            if *label_of.entry(name.as_ref()).or_insert(label) != label {
                let bound = "different for every class".into();
                return Err(value_error("a class name", format!("{:?} twice", name.as_ref()), bound));
            }
        }
        Ok(Self::collect(labels.iter().copied(), |label| class_names[label as usize].as_ref().into()))
    }

    /// One group for each name, in alphabetical order; `names` has the name of every image of the source set.
    ///
    /// # Errors
    /// If the list is shorter than the source set, or a name is empty.
    pub fn by_name<S: AsRef<str>>(names: &[S], set: &PreparedSet) -> Result<Self, DataError> {
        let name_of = |&index: &usize| match names.get(index).map(AsRef::as_ref) {
            Some(name) if !name.is_empty() => Ok(name),
            _ => Err(DataError::Value {
                field: "the group of an image",
                value: format!("missing (image {index})"),
                bound: "a name".into(),
            }),
        };
        let names: Vec<&str> = set.source_indices().iter().map(name_of).collect::<Result<_, _>>()?;
        Ok(Self::collect(names.into_iter(), str::to_owned))
    }

    /// The groups that a CSV table with the header `image,group` gives, in alphabetical order. An image is called by
    /// its name, by its position in the source set, or by its [`ImageId`]; an id stands for every selected image with these
    /// pixels. What could be a name and a position is a name.
    ///
    /// # Errors
    /// If the table cannot be read, has another header, names an image that is not selected, names one twice, gives
    /// an empty group, or leaves a selected image out.
    pub fn by_table(table: &Path, set: &PreparedSet) -> Result<Self, DataError> {
        let metadata = fs::metadata(table).map_err(|source| DataError::Io {
            action: "read",
            path: table.into(),
            source,
        })?;
        if !metadata.is_file() {
            let (value, bound) = ("a folder or a device".into(), "a regular file".into());
            return Err(DataError::File { path: table.into(), field: "the path", value, bound });
        }
        let text =
            fs::read(table).map_err(|source| DataError::Io { action: "read", path: table.into(), source })?;
        let table_error = |error| table_error(table, &text, error);
        let broken = |line, field, value: &str, bound: String| {
            line_error(table, line, field, format!("{value:?}"), bound)
        };
        let position_of_index: BTreeMap<usize, usize> =
            set.source_indices().iter().enumerate().map(|(position, &index)| (index, position)).collect();
        let position_of_name: BTreeMap<&str, usize> =
            set.names().iter().enumerate().map(|(position, name)| (name.as_str(), position)).collect();
        let mut positions_of_id = BTreeMap::<ImageId, Vec<usize>>::new();
        for (position, &id) in set.ids().iter().enumerate() {
            positions_of_id.entry(id).or_default().push(position);
        }

        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_slice());
        let header = reader.headers().map_err(table_error)?;
        if header != ["image", "group"].as_slice() {
            let line = line_at(&text, header.position());
            let header: Vec<_> = header.iter().collect();
            return Err(broken(line, "the header", &header.join(","), "image,group".into()));
        }
        // For each selected image: its group, and where the table says so.
        let mut assigned: Vec<Option<(String, Option<csv::Position>)>> = vec![None; set.len()];
        // The lines whose images are none that are selected.
        let mut unknown: Vec<(u64, String)> = Vec::new();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(table_error)? {
            let broken = |field, value, bound| broken(line_at(&text, record.position()), field, value, bound);
            let (image, group) = (composed(&record[0]), composed(&record[1]));
            let image = image.as_str();
            if group.is_empty() {
                return Err(broken("group", &group, "a name".into()));
            }
            let positions = if let Some(position) = position_of_name.get(image) {
                Some(std::slice::from_ref(position))
            } else if let Ok(index) = image.parse::<usize>() {
                position_of_index.get(&index).map(std::slice::from_ref)
            } else if let Ok(id) = image.parse::<ImageId>() {
                positions_of_id.get(&id).map(Vec::as_slice)
            } else {
                None
            };
            let Some(positions) = positions else {
                unknown.push((line_at(&text, record.position()), image.to_owned()));
                continue;
            };
            for &position in positions {
                if let Some((_, earlier)) = &assigned[position] {
                    let earlier = line_at(&text, earlier.as_ref());
                    return Err(broken(
                        "image",
                        image,
                        format!("listed once, but line {earlier} lists it too"),
                    ));
                }
                assigned[position] = Some((group.clone(), record.position().cloned()));
            }
        }
        refuse_unknown(table, &unknown, set.len())?;
        let mut groups = Vec::with_capacity(set.len());
        let unlisted = assigned.iter().filter(|entry| entry.is_none()).count();
        for (position, entry) in assigned.into_iter().enumerate() {
            let Some((group, _)) = entry else {
                return Err(DataError::File {
                    path: table.into(),
                    field: "the number of selected images without a line",
                    value: format!("{unlisted}, the first being image {}", set.source_indices()[position]),
                    bound: "0".into(),
                });
            };
            groups.push(group);
        }
        Ok(Self::collect(groups.iter().map(String::as_str), str::to_owned))
    }

    /// Numbers the different keys in their order.
    fn collect<K: Ord + Copy>(keys: impl Iterator<Item = K> + Clone, name: impl Fn(K) -> String) -> Self {
        let mut number_of: BTreeMap<K, u32> = keys.clone().map(|key| (key, 0)).collect();
        for (number, value) in (0..).zip(number_of.values_mut()) {
            *value = number;
        }
        Self {
            group_of: keys.map(|key| number_of[&key]).collect(),
            names: number_of.into_keys().map(name).collect(),
        }
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no group, because there is no image.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of each group; all are different.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The group of each image, below [`len`](Self::len).
    pub fn group_of(&self) -> &[u32] {
        &self.group_of
    }

    /// Positions of the images of one group, ascending.
    pub fn members(&self, group: u32) -> Vec<usize> {
        (0..self.group_of.len()).filter(|&image| self.group_of[image] == group).collect()
    }
}

/// Refuses a table with images that are not selected: all of them in one go.
fn refuse_unknown(table: &Path, unknown: &[(u64, String)], selected: usize) -> Result<(), DataError> {
    let Some((line, _)) = unknown.first() else { return Ok(()) };
    let names: Vec<String> = unknown.iter().map(|(_, image)| format!("{image:?}")).collect();
    let value = match unknown.len() {
        1 => names.concat(),
        count => format!("on {count} lines none that is selected ({})", listed(&names)),
    };
    let bound = format!(
        "one of the {selected} selected images: its name, its position in the set or its 64 hexadecimal digits"
    );
    Err(line_error(table, *line, "image", value, bound))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::image::ImageSet;
    use crate::preprocessing::{Preprocessing, prepare};

    /// Source images 0 to 5 with one byte each, of which 1, 3 and 5 are selected; 3 and 5 are the same.
    fn selected() -> PreparedSet {
        let set = ImageSet::new(1, 1, 1, vec![0, 10, 20, 30, 40, 30], vec![0, 1, 0, 1, 0, 1]).unwrap();
        prepare(&set, &Preprocessing { classes: Some(vec![1]), ..Preprocessing::default() }).unwrap()
    }

    fn table(text: impl AsRef<[u8]>) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_ref()).unwrap();
        file
    }

    fn from_text(text: impl AsRef<[u8]>) -> Result<Groups, String> {
        let file = table(text);
        Groups::by_table(file.path(), &selected())
            .map_err(|error| error.to_string().replace(&file.path().display().to_string(), "TABLE"))
    }

    #[test]
    fn by_image() {
        let groups = Groups::by_image(&selected());
        assert_eq!(groups.names(), ["1", "3", "5"]);
        assert_eq!(groups.group_of(), [0, 1, 2]);
    }

    #[test]
    fn by_class_numbers_only_the_classes_that_occur() {
        let groups = Groups::by_class(&[8, 2, 0, 2], &["a", "b", "c", "d", "e", "f", "g", "h", "i"]).unwrap();
        assert_eq!(groups.names(), ["a", "c", "i"]);
        assert_eq!(groups.group_of(), [2, 1, 0, 1]);
        assert_eq!(groups.members(1), [1, 3]);
        assert_eq!(
            Groups::by_class(&[0, 2], &["a", "b"]).unwrap_err().to_string(),
            "a label is 2, but must be below 2, the number of class names"
        );
        assert_eq!(
            Groups::by_class(&[0, 1, 0], &["a", "a"]).unwrap_err().to_string(),
            "a class name is \"a\" twice, but must be different for every class"
        );
    }

    #[test]
    fn by_table_with_positions_and_ids() {
        let expected = Groups { names: vec!["ann".into(), "bob".into()], group_of: vec![1, 0, 0] };
        assert_eq!(from_text("image,group\n1,bob\n3,ann\n5,ann\n").unwrap(), expected);
        assert_eq!(from_text("image,group\r\n5 , ann\r\n3,\"ann\"\r\n1,bob").unwrap(), expected);
        // One id stands for both images that have its pixels.
        let id = selected().ids()[1];
        assert_eq!(from_text(format!("image,group\n{id},ann\n1,bob\n")).unwrap(), expected);
    }

    #[test]
    fn tables_that_do_not_fit_are_refused_by_line() {
        let message = |text: &str| from_text(text).unwrap_err();
        let of_three =
            "one of the 3 selected images: its name, its position in the set or its 64 hexadecimal digits";
        assert_eq!(
            message("picture,group\n"),
            "TABLE, line 1: the header is \"picture,group\", but must be image,group"
        );
        assert_eq!(message(""), "TABLE, line 1: the header is \"\", but must be image,group");
        assert_eq!(
            message("image,group\n1,a\n2,a\n"),
            format!("TABLE, line 3: image is \"2\", but must be {of_three}")
        );
        let id = ImageId::from([7; 32]);
        assert_eq!(
            message(&format!("image,group\n{id},a\n")),
            format!("TABLE, line 2: image is \"{id}\", but must be {of_three}")
        );
        assert_eq!(
            message("image,group\n-1,a\n"),
            format!("TABLE, line 2: image is \"-1\", but must be {of_three}")
        );
        // All of them in one go.
        assert_eq!(
            message("image,group\n1,a\n2,a\nx,a\n3,b\n\n9,b\n"),
            format!(
                "TABLE, line 3: image is on 3 lines none that is selected (\"2\", \"x\", \"9\"), but must be {of_three}"
            )
        );
        assert_eq!(
            message("\r\nimage,group\r\n\r\n1,a\r\n3,a\r\n\r\n\r\n1,a\r\n"),
            "TABLE, line 8: image is \"1\", but must be listed once, but line 4 lists it too"
        );
        assert_eq!(message("image,group\n1,\n"), "TABLE, line 2: group is \"\", but must be a name");
        assert_eq!(
            message("image,group\n1,a\n3,a,b\n"),
            "TABLE, line 3: the number of columns is 3, but must be 2, as in the header"
        );
        assert_eq!(
            message("image,group\n1,a\n"),
            "TABLE: the number of selected images without a line is 2, the first being image 3, but must be 0"
        );
        assert_eq!(
            from_text(b"image,group\n1,\xff\n").unwrap_err(),
            "TABLE, line 2: the text is not UTF-8, but must be UTF-8"
        );
        let missing = Groups::by_table(Path::new("/nowhere/table.csv"), &selected()).unwrap_err();
        assert_eq!(missing.to_string(), "cannot read /nowhere/table.csv");
    }

    proptest! {
        #[test]
        fn groups_are_a_partition_without_empty_parts(labels in prop::collection::vec(0_u32..20, 0..60)) {
            let names: Vec<_> = (0..20).map(|class| format!("class {class}")).collect();
            let groups = Groups::by_class(&labels, &names).unwrap();
            prop_assert_eq!(groups.group_of().len(), labels.len());
            for (image, &group) in groups.group_of().iter().enumerate() {
                prop_assert_eq!(&groups.names()[group as usize], &names[labels[image] as usize]);
            }
            let mut images: Vec<_> = (0..groups.len() as u32).flat_map(|group| groups.members(group)).collect();
            images.sort();
            prop_assert_eq!(images, (0..labels.len()).collect::<Vec<_>>());
            prop_assert!((0..groups.len() as u32).all(|group| !groups.members(group).is_empty()));
        }

        #[test]
        fn any_bytes_as_a_table_give_groups_or_an_error(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"135,\"\n\rab".to_vec())], 0..60)
        ) {
            let text = [b"image,group\n".as_slice(), &bytes].concat();
            if let Ok(groups) = from_text(text) {
                prop_assert_eq!(groups.group_of().len(), 3);
            }
        }
    }
}
