//! Labels in every form that they usually have. In each, the three images have the labels 2, 0 and 1.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use pentimento_data::ImageSource as _;
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, notes, refusal, try_open};

const LABELS: [u32; 3] = [2, 0, 1];
const NAMES: [&str; 3] = ["ant", "bee", "cow"];

/// Kind, shape and data of an array, and the names of the classes.
type Form<'a> = (&'a str, &'a [usize], Vec<u8>, [&'a str; 3]);

/// Three images as an array.
fn images() -> Vec<u8> {
    npy("|u1", &[3, 2, 2], &[7; 12])
}

/// The text of each label as NumPy keeps texts of three characters: UTF-32, or bytes, filled up with zeros.
fn texts(unit: impl Fn(u8) -> Vec<u8>) -> Vec<u8> {
    LABELS
        .iter()
        .flat_map(|&label| NAMES[label as usize].bytes().flat_map(&unit).collect::<Vec<_>>())
        .collect()
}

#[test]
fn arrays_have_numbers_texts_or_one_hot_rows() {
    let folder = TempDir::new().unwrap();
    let one_hot = |one: &[u8]| -> Vec<u8> {
        let entry = |is_one: bool| if is_one { one.to_vec() } else { vec![0; one.len()] };
        LABELS
            .iter()
            .flat_map(|&label| (0..3).flat_map(move |class| entry(class == label)).collect::<Vec<_>>())
            .collect()
    };
    let whole = |bytes: &dyn Fn(u32) -> Vec<u8>| -> Vec<u8> {
        LABELS.iter().flat_map(|&label| bytes(label)).collect()
    };
    // Halves of 0, 1 and 2 (IEEE 754).
    let halves = |label: u32| [[0, 0], [0, 0x3c], [0, 0x40]][label as usize].to_vec();
    let wide = |byte: u8| u32::from(byte).to_le_bytes().to_vec();
    let longer: Vec<u8> = LABELS
        .iter()
        .flat_map(|&label| NAMES[label as usize].bytes().chain([0, 0]).collect::<Vec<_>>())
        .collect();
    let numbers = ["0", "1", "2"];
    let forms: [Form<'_>; 16] = [
        ("|i1", &[3], whole(&|label| vec![label as u8]), numbers),
        (">u2", &[3, 1], whole(&|label| vec![0, label as u8]), numbers),
        ("<i8", &[3, 1, 1], whole(&|label| u64::from(label).to_le_bytes().to_vec()), numbers),
        ("<f2", &[3], whole(&halves), numbers),
        ("<f4", &[3, 1], whole(&|label| (label as f32).to_le_bytes().to_vec()), numbers),
        ("<f8", &[3], whole(&|label| f64::from(label).to_le_bytes().to_vec()), numbers),
        (">f8", &[3], whole(&|label| f64::from(label).to_be_bytes().to_vec()), numbers),
        ("|b1", &[3, 3], one_hot(&[1]), numbers),
        ("|u1", &[3, 3], one_hot(&[1]), numbers),
        ("<i8", &[3, 3], one_hot(&1_i64.to_le_bytes()), numbers),
        ("<f4", &[3, 3], one_hot(&1_f32.to_le_bytes()), numbers),
        ("<U3", &[3], texts(wide), NAMES),
        (">U3", &[3], texts(|byte| u32::from(byte).to_be_bytes().to_vec()), NAMES),
        ("|S3", &[3], texts(|byte| vec![byte]), NAMES),
        ("|S5", &[3], longer, NAMES),
        ("<U3", &[3, 1], texts(wide), NAMES),
    ];
    for (kind, shape, data, names) in forms {
        let labels = npy(kind, shape, &data);
        let mut paths = Vec::new();
        for (images_name, labels_name) in [("images", "labels"), ("x_train", "y_train"), ("arr_0", "arr_1")] {
            let path = folder.path().join(format!("{images_name}.npz"));
            let members =
                [(format!("{images_name}.npy"), images()), (format!("{labels_name}.npy"), labels.clone())];
            let members: Vec<_> =
                members.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
            fs::write(&path, zip_of(&members, true)).unwrap();
            paths.push(path);
        }
        fs::write(folder.path().join("images.npy"), images()).unwrap();
        fs::write(folder.path().join("labels.npy"), &labels).unwrap();
        paths.push(folder.path().join("images.npy"));
        for path in paths {
            let source = try_open(&path).unwrap();
            assert_eq!(source.labels(), Some(LABELS.as_slice()), "{kind} {shape:?} in {}", path.display());
            assert_eq!(source.class_names(), names, "{kind} {shape:?}");
            // Names are numbered in alphabetical order, which is said.
            assert_eq!(notes(&source).contains("0 ant, 1 bee, 2 cow"), names == NAMES, "{kind} {shape:?}");
        }
    }
}

#[test]
fn arrays_that_are_called_labels_and_are_none_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.npz");
    let case = |kind: &str, shape: &[usize], data: &[u8], parts: &[&str]| {
        let members = [("images.npy", images()), ("labels.npy", npy(kind, shape, data))];
        fs::write(&path, zip_of(&members, false)).unwrap();
        assert_names(&refusal(&path), &[&["set.npz, labels"], parts].concat());
    };
    let floats = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    case("<f8", &[3], &floats(&[1.0, 0.5, 2.0]), &["the label is 0.5 (at 1)", "a whole number"]);
    case("<f8", &[3], &floats(&[1.0, 0.0, f64::NAN]), &["the label is NaN (at 2)"]);
    case("<f8", &[3], &floats(&[1.0, -1.0, 2.0]), &["the label is -1 (at 1)"]);
    case("|u1", &[3, 2], &[1, 0, 1, 1, 0, 1], &["[1, 1] (at 1)", "one-hot"]);
    case("|u1", &[3, 2], &[1, 0, 0, 0, 0, 1], &["[0, 0] (at 1)"]);
    case("<f8", &[3, 2], &floats(&[1.0, 0.0, 0.5, 0.5, 0.0, 1.0]), &["[0.5, 0.5] (at 1)"]);
    case("|u1", &[2], &[0, 1], &["[2] of kind |u1", "[3]"]);
    case("|O", &[3], &[0x80, 2, 0x2e], &["of kind |O", "pickled"]);
    case("<c8", &[3], &[0; 24], &["of kind <c8"]);
    case("<M8[ns]", &[3], &[0; 24], &["of kind <M8[ns]"]);
    case("|S1", &[3], b"a\xffb", &["entry 1", "none in Unicode"]);
    case("<U1", &[3], &[0xff; 12], &["entry 0", "none in Unicode"]);
    case("|S3", &[3], b"antbee\0\0\0", &["entry 2", "empty"]);
}

#[test]
fn of_several_arrays_the_one_that_is_called_so_has_the_labels() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.npz");
    let labels: Vec<u8> = LABELS.iter().map(|&label| label as u8).collect();
    let names = |kind: &str, text: &[u8], count| npy(kind, &[count], text);
    let mut members = vec![
        ("images.npy", images()),
        ("labels.npy", npy("|u1", &[3], &labels)),
        ("ids.npy", npy("|u1", &[3], &[9, 8, 7])),
        ("file_names.npy", names("|S1", b"xyz", 3)),
        ("class_names.npy", names("|S3", b"antbeecow", 3)),
    ];
    fs::write(&path, zip_of(&members, false)).unwrap();
    let source = try_open(&path).unwrap();
    assert_eq!(
        (source.labels().unwrap(), source.class_names()),
        (LABELS.as_slice(), NAMES.map(String::from).as_slice())
    );
    assert_names(&notes(&source), &["ids [3] of kind |u1", "file_names [3] of kind |S1", "not read: "]);
    // Names that the labels go beyond.
    members[4].1 = names("|S3", b"antbee", 2);
    fs::write(&path, zip_of(&members, false)).unwrap();
    assert_names(&refusal(&path), &["the label is 2 (at 0)", "between 0 and 1"]);
    // Two that could be meant.
    members[2].0 = "targets.npy";
    fs::write(&path, zip_of(&members, false)).unwrap();
    assert_names(&refusal(&path), &["labels [3]", "targets [3]", "at most one"]);
    // No array is called so, and texts of unknown meaning are no labels.
    let members = [("images.npy", images()), ("file_names.npy", names("|S1", b"xyz", 3))];
    fs::write(&path, zip_of(&members, false)).unwrap();
    let source = try_open(&path).unwrap();
    assert_eq!(source.labels(), None);
    assert_names(&notes(&source), &["file_names [3] of kind |S1", "`labels`"]);
}

/// Writes three images with labels: the type of the column in Parquet's words, values, and levels of definition and
/// repetition.
fn write_labels<T: DataType>(
    path: &Path,
    column: &str,
    features: Option<&str>,
    values: &[T::T],
    levels: [&[i16]; 2],
) {
    let schema = format!("message schema {{ optional group img {{ optional binary bytes; }} {column} }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let pairs = features.map(|text| vec![KeyValue::new("huggingface".into(), text.to_owned())]);
    let properties = WriterProperties::builder().set_key_value_metadata(pairs).build();
    let mut writer =
        SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    let mut row_group = writer.next_row_group().unwrap();
    let image: ByteArray = png(&noise(4, 4, 1, 0)).into();
    let mut images = row_group.next_column().unwrap().unwrap();
    images.typed::<ByteArrayType>().write_batch(&vec![image; 3], Some(&[2; 3]), None).unwrap();
    images.close().unwrap();
    let mut labels = row_group.next_column().unwrap().unwrap();
    let [defined, repeated] = levels.map(|levels| (!levels.is_empty()).then_some(levels));
    labels.typed::<T>().write_batch(values, defined, repeated).unwrap();
    labels.close().unwrap();
    row_group.close().unwrap();
    writer.close().unwrap();
}

const LIST: &str = "optional group label (LIST) { repeated group list { optional TYPE element; } }";

#[test]
fn columns_of_parquet_have_numbers_texts_or_lists_of_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.parquet");
    let expect = |names: [&str; 3]| {
        let source = try_open(&path).unwrap();
        assert_eq!(source.labels(), Some(LABELS.as_slice()));
        assert_eq!(source.class_names(), names);
        // Names of the set's own have their numbers; others are numbered in alphabetical order, which is said.
        assert_eq!(notes(&source).contains("0 ant, 1 bee, 2 cow"), names == NAMES);
    };
    let (numbers, there) = (["0", "1", "2"], [[1; 3].as_slice(), &[]]);
    write_labels::<Int32Type>(&path, "optional int32 label;", None, &[2, 0, 1], there);
    expect(numbers);
    write_labels::<FloatType>(&path, "optional float label;", None, &[2.0, 0.0, 1.0], there);
    expect(numbers);
    write_labels::<DoubleType>(&path, "optional double label;", None, &[2.0, 0.0, 1.0], there);
    expect(numbers);
    let texts: Vec<ByteArray> = LABELS.iter().map(|&label| NAMES[label as usize].into()).collect();
    write_labels::<ByteArrayType>(&path, "optional binary label (UTF8);", None, &texts, there);
    expect(NAMES);
    // Names in an order of their own.
    let of_class = |names: &str, list: bool| {
        let class = format!("{{\"names\":{names},\"_type\":\"ClassLabel\"}}");
        let feature = if list { format!("{{\"feature\":{class},\"_type\":\"List\"}}") } else { class };
        format!("{{\"info\":{{\"features\":{{\"img\":{{\"_type\":\"Image\"}},\"label\":{feature}}}}}}}")
    };
    let features = of_class("[\"elk\",\"dog\",\"ape\"]", false);
    write_labels::<Int64Type>(&path, "optional int64 label;", Some(&features), &[2, 0, 1], there);
    expect(["elk", "dog", "ape"]);
    let texts: Vec<ByteArray> = ["ape", "elk", "dog"].map(Into::into).to_vec();
    write_labels::<ByteArrayType>(&path, "optional binary label (UTF8);", Some(&features), &texts, there);
    expect(["elk", "dog", "ape"]);
    // Lists of one, and one-hot.
    let one_each = [[3; 3].as_slice(), &[0; 3]];
    let list = |kind: &str| LIST.replace("TYPE", kind);
    write_labels::<Int64Type>(&path, &list("int64"), None, &[2, 0, 1], one_each);
    expect(numbers);
    let features = of_class("[\"elk\",\"dog\",\"ape\"]", true);
    write_labels::<Int64Type>(&path, &list("int64"), Some(&features), &[2, 0, 1], one_each);
    expect(["elk", "dog", "ape"]);
    let texts: Vec<ByteArray> = LABELS.iter().map(|&label| NAMES[label as usize].into()).collect();
    write_labels::<ByteArrayType>(
        &path,
        &LIST.replace("TYPE element", "binary element (UTF8)"),
        None,
        &texts,
        one_each,
    );
    expect(NAMES);
    let (rows, starts) = ([3; 9], [0, 1, 1, 0, 1, 1, 0, 1, 1]);
    let one_hot = [0, 0, 1, 1, 0, 0, 0, 1, 0];
    write_labels::<DoubleType>(&path, &list("double"), None, &one_hot.map(f64::from), [&rows, &starts]);
    expect(numbers);
    write_labels::<BoolType>(&path, &list("boolean"), None, &one_hot.map(|one| one == 1), [&rows, &starts]);
    expect(numbers);
}

#[test]
fn columns_that_are_called_labels_and_are_none_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.parquet");
    let there = [[1; 3].as_slice(), &[]];
    write_labels::<DoubleType>(&path, "optional double label;", None, &[2.0, 0.5, 1.0], there);
    assert_names(&refusal(&path), &["row 1", "the label is 0.5", "a whole number"]);
    let list = LIST.replace("TYPE", "int64");
    write_labels::<Int64Type>(&path, &list, None, &[2, 0, 3, 1], [&[3; 4], &[0, 0, 1, 0]]);
    assert_names(&refusal(&path), &["row 1 of it", "the list is [0.0, 3.0]", "one-hot"]);
    // Numbers of several classes, not one-hot: their lengths differ.
    write_labels::<Int64Type>(&path, &list, None, &[0, 1, 1, 0, 1, 0, 0], [&[3; 7], &[0, 1, 0, 1, 0, 1, 1]]);
    assert_names(&refusal(&path), &["row 2 of it", "the list is [1.0, 0.0, 0.0]", "as long as the others"]);
    write_labels::<Int64Type>(&path, &list, None, &[2, 1], [&[3, 0, 3], &[0, 0, 0]]);
    assert_names(&refusal(&path), &["row 1", "the label is null"]);
    let structure = "optional group label { optional int64 id; }";
    write_labels::<Int64Type>(&path, structure, None, &[2, 0, 1], [&[2; 3], &[]]);
    assert_names(&refusal(&path), &["INT64 in `label.id`", "numbers or texts"]);
    // A column under another name may be one of labels.
    write_labels::<Int64Type>(&path, "optional int64 digit;", None, &[2, 0, 1], there);
    let source = try_open(&path).unwrap();
    assert_eq!(source.labels(), None);
    assert_names(&notes(&source), &["not read: the column `digit` (", "`label`", "ClassLabel"]);
}

/// Numbers keep their value: with 1 to 3 there is a class 0 without images, and that is said, in every layout.
#[test]
fn numbers_that_no_image_has_are_counted_and_said() {
    let folder = TempDir::new().unwrap();
    let said = "labels: numbers from 1 to 3, so 1 class of 4 has no images: 0\n";
    let path = folder.path().join("set.npz");
    let write = |labels: &[u8]| {
        let images = npy("|u1", &[labels.len(), 1, 1], &vec![7; labels.len()]);
        fs::write(
            &path,
            zip_of(&[("images.npy", images), ("labels.npy", npy("|u1", &[labels.len()], labels))], false),
        )
        .unwrap();
        try_open(&path).unwrap()
    };
    let source = write(&[1, 3, 2]);
    assert_eq!((source.labels().unwrap(), source.class_names().len()), ([1, 3, 2].as_slice(), 4));
    assert_eq!(notes(&source), said);
    assert_eq!(notes(&write(&[1, 0, 1])), "");
    assert_eq!(
        notes(&write(&[9, 0])),
        "labels: numbers from 0 to 9, so 8 classes of 10 have no images: 1, 2, 3, 4, 5, 6 and 2 more\n"
    );
    let root = folder.path().join("table");
    fs::create_dir(&root).unwrap();
    for name in ["a.png", "b.png", "c.png"] {
        fs::write(root.join(name), png(&noise(4, 4, 1, 0))).unwrap();
    }
    fs::write(root.join("metadata.csv"), "file_name,label\na.png,1\nb.png,2\nc.png,3\n").unwrap();
    let source = try_open(&root).unwrap();
    assert_eq!((source.labels().unwrap(), notes(&source)), ([1, 2, 3].as_slice(), said.to_owned()));
    // Names are numbered without gaps.
    fs::write(root.join("metadata.csv"), "file_name,label\na.png,x\nb.png,y\nc.png,z\n").unwrap();
    assert!(!notes(&try_open(&root).unwrap()).contains("no images"));
}
