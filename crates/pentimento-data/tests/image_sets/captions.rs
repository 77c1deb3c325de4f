//! Captions: where each layout has them, and what is said if they cannot be used.

use std::fs;
use std::path::Path;

use pentimento_data::{
    CaptionFaultKind, Channels, DataError, ImageSource, IndexedSource, Layout, OpenOptions, Preprocessing,
    check_captions, converted, open, prepare,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, notes, try_open};

fn open_named(path: &Path, captions: &str) -> Result<IndexedSource, DataError> {
    open(path, &OpenOptions { captions: Some(captions.into()), ..OpenOptions::default() }, &mut |_| {})
}

fn all(source: &dyn ImageSource) -> Vec<Vec<String>> {
    (0..source.len()).map(|index| source.captions(index).to_vec()).collect()
}

fn picture(seed: u64) -> Vec<u8> {
    png(&noise(4, 4, 1, seed))
}

/// A folder with these files beside the images `a.png`, `b.png` and so on.
fn beside(images: usize, files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (index, name) in ('a'..).take(images).enumerate() {
        fs::write(folder.path().join(format!("{name}.png")), picture(index as u64)).unwrap();
    }
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// An archive of samples, each with these files beside its image.
fn archive(samples: &[&[(&str, &[u8])]]) -> TempDir {
    let mut entries = Vec::new();
    for (number, files) in samples.iter().enumerate() {
        entries.push((format!("{number}.png"), picture(number as u64)));
        entries.extend(files.iter().map(|(ending, bytes)| (format!("{number}.{ending}"), bytes.to_vec())));
    }
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("set.tar"), tar_of(&entries)).unwrap();
    folder
}

/// A Parquet file of images with a column whose definition is `column`.
fn parquet_with(column: &str, images: usize, columns: &[Levels]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let schema = format!("message schema {{ optional group img {{ optional binary bytes; }} {column} }}");
    let pictures = (0..images).map(|index| picture(index as u64).into()).collect();
    let mut all: Vec<Levels> = vec![(pictures, vec![2; images], None)];
    all.extend_from_slice(columns);
    write_parquet_lists(&folder.path().join("set.parquet"), &schema, &all);
    folder
}

const TEXT: &str = "optional binary text (UTF8);";
const LIST: &str =
    "optional group captions (LIST) { repeated group list { optional binary element (UTF8); } }";

#[test]
fn every_layout_that_holds_texts_has_them_as_captions() {
    let csv = beside(2, &[("metadata.csv", b"file_name, text \nb.png,a bar\na.png,\"one, two\"\n")]);
    let lines = b"{\"file_name\": \"b.png\", \"captions\": [\"a bar\", \"a line\"]}\n{\"file_name\": \"a.png\", \"captions\": \"one, two\"}\n";
    let json_lines = beside(2, &[("metadata.jsonl", lines)]);
    let named_otherwise =
        beside(2, &[("labels.csv", b"file_name,label,prompt\nb.png,1,a bar\na.png,0,\"one, two\"\n")]);
    let tar = archive(&[&[("txt", b"a bar"), ("cls", b"1")], &[("txt", b"one, two"), ("cls", b"0")]]);
    let json = |text: &str| format!("{{\"label\": 3, \"caption\": {text}}}").into_bytes();
    let tar_json =
        archive(&[&[("json", &json("[\"a bar\", \"a line\"]"))], &[("json", &json("\"one, two\""))]]);
    let texts = parquet_with(TEXT, 2, &[(vec!["a bar".into(), "one, two".into()], vec![1, 1], None)]);
    let three = vec!["a bar".into(), "a line".into(), "one, two".into()];
    let lists = parquet_with(LIST, 2, &[(three, vec![3; 3], Some(vec![0, 1, 0]))]);
    let table = beside(2, &[]);
    let schema = "message schema { required binary file_name (UTF8); required binary caption (UTF8); }";
    let (names, captions) = (vec!["b.png".into(), "a.png".into()], vec!["a bar".into(), "one, two".into()]);
    write_parquet_schema(
        &table.path().join("metadata.parquet"),
        schema,
        &[(names, vec![]), (captions, vec![])],
    );

    let one = vec![vec!["a bar".to_owned()], vec!["one, two".to_owned()]];
    let several = vec![vec!["a bar".to_owned(), "a line".to_owned()], vec!["one, two".to_owned()]];
    for (folder, said, expected) in [
        (&csv, "captions: `text`\n", &one),
        (&json_lines, "captions: `captions`\n", &several),
        (&named_otherwise, "captions: `prompt`\n", &one),
        (&tar, "captions: the .txt files\n", &one),
        (&tar_json, "captions: `caption`\n", &several),
        (&texts, "captions: `text`\n", &one),
        (&lists, "captions: `captions`\n", &several),
        (&table, "captions: `caption`\n", &one),
    ] {
        let source = try_open(folder.path()).unwrap();
        assert_eq!(all(&source), *expected, "{said}");
        assert_names(&notes(&source), &[said]);
        assert!(!notes(&source).contains("not read"), "{}", notes(&source));
        check_captions(&source, &[0, 1]).unwrap();
    }
    // Labels are what they would be without.
    assert_eq!(try_open(named_otherwise.path()).unwrap().labels().unwrap(), [1, 0]);
    assert_eq!(try_open(tar.path()).unwrap().labels().unwrap(), [1, 0]);
    assert_eq!(try_open(tar_json.path()).unwrap().labels().unwrap(), [3, 3]);
}

#[test]
fn files_of_text_beside_pictures_are_their_captions() {
    let folder = TempDir::new().unwrap();
    for (class, names) in [("ant", ["0.png", "1.photo.png"]), ("bee", ["0.jpg", "0.png"])] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for name in names {
            fs::write(folder.path().join(class).join(name), picture(0)).unwrap();
        }
    }
    fs::write(folder.path().join("ant/0.txt"), "\u{feff}a red bar\r\n").unwrap();
    fs::write(folder.path().join("ant/1.photo.TXT"), "\n\n").unwrap();
    // Two pictures of one name share it.
    fs::write(folder.path().join("bee/0.txt"), "two\r\nlines\n\r\n").unwrap();
    let source = try_open(folder.path()).unwrap();
    assert_eq!(
        (source.layout(), source.class_names()),
        (Layout::Folder, ["ant".into(), "bee".into()].as_slice())
    );
    assert_eq!(source.labels().unwrap(), [0, 0, 1, 1]);
    assert_eq!(all(&source), [["a red bar"], [""], ["two\nlines"], ["two\nlines"]]);
    assert_names(
        &notes(&source),
        &["captions: 2 files of captions have several lines", "(first that of bee/0.jpg)"],
    );
    assert!(!notes(&source).contains("not read"), "{}", notes(&source));
    let summary = source.caption_summary().unwrap();
    assert_eq!(summary.to_string(), "4 images with one each, 1 empty; e.g. \"a red bar\" (ant/0.png)");
    assert_eq!((summary.source.as_deref(), summary.faults.len()), (Some("the .txt files"), 0));

    // Under another ending, if that is asked for.
    fs::write(folder.path().join("ant/0.caption"), "an ant").unwrap();
    let source = open_named(folder.path(), "caption").unwrap();
    assert_eq!((source.captions(0), source.captions(1)), (["an ant".to_owned()].as_slice(), [].as_slice()));
    assert_names(&notes(&source), &["3 .txt (with the names of images"]);
    // A single picture.
    let source = try_open(&folder.path().join("ant/0.png")).unwrap();
    assert_eq!((source.layout(), source.captions(0)), (Layout::Image, ["a red bar".to_owned()].as_slice()));
    // Beside pictures with a table that has labels only.
    let table = "file_name,label\nbee/0.jpg,1\nant/0.png,0\nbee/0.png,1\nant/1.photo.png,0\n";
    fs::write(folder.path().join("metadata.csv"), table).unwrap();
    assert_eq!(all(&try_open(folder.path()).unwrap()), [["two\nlines"], ["a red bar"], ["two\nlines"], [""]]);
}

#[test]
fn sets_without_texts_have_none_and_say_so_when_asked() {
    let folder = beside(2, &[("README.txt", b"read me")]);
    let source = try_open(folder.path()).unwrap();
    assert_eq!((all(&source), source.caption_summary()), (vec![vec![], vec![]] as Vec<Vec<String>>, None));
    assert!(!notes(&source).contains("captions"));
    assert_names(
        &check_captions(&source, &[0, 1]).unwrap_err().to_string(),
        &["the captions of the images is none", "`caption`, `captions`, `prompt`, `text`", ".txt files"],
    );
    let prepared = prepare(&source, &Preprocessing::default()).unwrap();
    assert_eq!(prepared.captions(1), [] as [String; 0]);
    // What is asked for and not there.
    let said = |path: &Path, name: &str| open_named(path, name).unwrap_err().to_string();
    assert_names(
        &said(folder.path(), "prompt"),
        &["the column of captions is `prompt`", "the set has: `.txt`"],
    );
    let table = beside(2, &[("metadata.csv", b"file_name,text,breed\na.png,x,y\nb.png,x,y\n")]);
    assert_names(
        &said(table.path(), "prompt"),
        &["metadata.csv: the column of captions is `prompt`", "`breed`, `file_name`, `text`"],
    );
    let tar = archive(&[&[("txt", b"x"), ("json", b"{\"title\": \"y\"}")]]);
    assert_names(&said(tar.path(), "prompt"), &["set.tar", "`prompt`", "`.json`, `.png`, `.txt`, `title`"]);
    let parquet = parquet_with(TEXT, 1, &[(vec!["x".into()], vec![1], None)]);
    assert_names(&said(parquet.path(), "prompt"), &["set.parquet", "`prompt`", "`img`, `text`"]);
    let array = TempDir::new().unwrap();
    fs::write(array.path().join("images.npy"), npy("|u1", &[1, 4, 4], &[0; 16])).unwrap();
    assert_names(&said(array.path(), "prompt"), &["`prompt`", "not asked for of a NumPy array"]);
    // And columns of any name that are.
    assert_eq!(all(&open_named(table.path(), "breed").unwrap()), [["y"], ["y"]]);
    assert_eq!(all(&open_named(tar.path(), "title").unwrap()), [["y"]]);
    assert_eq!(all(&open_named(tar.path(), ".txt").unwrap()), [["x"]]);
}

#[test]
fn of_two_columns_that_differ_one_has_to_be_named() {
    let csv = beside(2, &[("metadata.csv", b"file_name,text,prompt\na.png,one,eins\nb.png,two,zwei\n")]);
    let tar = archive(&[
        &[("txt", b"one"), ("json", b"{\"prompt\": \"eins\"}")],
        &[("txt", b"two"), ("json", b"{\"prompt\": \"zwei\"}")],
    ]);
    let columns = [
        (vec!["one".into(), "two".into()], vec![1; 2], None),
        (vec!["eins".into(), "zwei".into()], vec![1; 2], None),
    ];
    let parquet = parquet_with(&format!("{TEXT} optional binary prompt (UTF8);"), 2, &columns);
    for (folder, first, second) in
        [(&csv, "`text`", "`prompt`"), (&tar, "the .txt files", "`prompt`"), (&parquet, "`text`", "`prompt`")]
    {
        // It opens, as nobody may need them.
        let source = try_open(folder.path()).unwrap();
        assert_eq!(all(&source), [[] as [String; 0], []]);
        let parts =
            [&*format!("{first} (of 2 images)"), &*format!("{second} (of 2 images)"), "must be in one place"];
        assert_names(&notes(&source), &parts);
        let error = check_captions(&source, &[1]).unwrap_err();
        assert_names(&error.to_string(), &parts);
        assert_names(&error.to_string(), &["1 of 1 images", "1 with several texts that could be meant: "]);
        assert_eq!(all(&open_named(folder.path(), "prompt").unwrap()), [["eins"], ["zwei"]]);
    }
    assert_eq!(all(&open_named(tar.path(), "txt").unwrap()), [["one"], ["two"]]);
    // What img2dataset writes: both say the same.
    let tar = archive(&[
        &[("txt", b"one\n"), ("json", b"{\"caption\": \"one\"}")],
        &[("txt", b""), ("json", b"{\"caption\": null}")],
    ]);
    let source = try_open(tar.path()).unwrap();
    assert_eq!(all(&source), [["one"], [""]]);
    assert_names(&notes(&source), &["captions: the .txt files; `caption` says the same\n"]);
}

#[test]
fn faults_of_captions_are_told_in_one_go() {
    let long = format!("{{\"file_name\": \"f.png\", \"text\": \"{}\"}}", "x".repeat((64 << 10) + 1));
    let lines = [
        "{\"file_name\": \"a.png\", \"text\": \"fine\"}",
        "{\"file_name\": \"b.png\", \"text\": 7}",
        "{\"file_name\": \"c.png\", \"text\": [\"fine\", null]}",
        "{\"file_name\": \"d.png\"}",
        "{\"file_name\": \"e.png\", \"text\": []}",
        &long,
        "{\"file_name\": \"g.png\", \"text\": \"\"}",
    ];
    let folder = beside(7, &[("metadata.jsonl", lines.join("\n").as_bytes())]);
    let source = try_open(folder.path()).unwrap();
    assert_eq!(
        (source.captions(0), source.captions(6)),
        (["fine".into()].as_slice(), ["".into()].as_slice())
    );
    let kinds: Vec<_> = (0..7).map(|index| source.caption_fault(index).map(|fault| fault.kind)).collect();
    use CaptionFaultKind::{Encoding, Kind, Length, Missing, Unreadable};
    assert_eq!(kinds, [None, Some(Kind), Some(Kind), Some(Missing), Some(Missing), Some(Length), None]);
    let parts = [
        "5 of 7 images have no",
        "2 without one: d.png, e.png (the caption is missing in `text`, but must be there, as other images have one)",
        "2 with something else than texts: b.png, c.png (",
        "metadata.jsonl, line 2: the caption is 7 in `text`, but must be a text or a list of texts)",
        "1 with a text that is too long: f.png (",
        "metadata.jsonl, line 6: the length of a caption is 65537 bytes, but must be at most 65536 bytes",
    ];
    let every: Vec<usize> = (0..7).collect();
    assert_names(&check_captions(&source, &every).unwrap_err().to_string(), &parts);
    assert_names(&notes(&source), &parts[1..]);
    assert_names(&notes(&source), &["captions: 5 of 7 images have none that can be used"]);
    // Only those that are selected count.
    check_captions(&source, &[0, 6]).unwrap();
    assert_eq!(
        source.caption_summary().unwrap().to_string(),
        "2 images with one each, 1 empty; e.g. \"fine\" (a.png)"
    );

    // Latin-1 in a table, and in files.
    let table = beside(2, &[("metadata.csv", b"file_name,text\na.png,caf\xe9\nb.png,bar\n")]);
    let files = beside(2, &[("a.txt", b"caf\xe9"), ("b.txt", b"bar")]);
    let tar = archive(&[&[("txt", b"caf\xe9")], &[("txt", b"bar")]]);
    let parquet =
        parquet_with(TEXT, 2, &[(vec![b"caf\xe9".to_vec().into(), "bar".into()], vec![1; 2], None)]);
    for (folder, place) in [
        (&table, "metadata.csv, line 2"),
        (&files, "a.txt"),
        (&tar, "set.tar, \"0.txt\""),
        (&parquet, "set.parquet, row 0"),
    ] {
        let source = try_open(folder.path()).unwrap();
        let fault = source.caption_fault(0).unwrap();
        assert_eq!((fault.kind, source.captions(1)), (Encoding, ["bar".to_owned()].as_slice()));
        assert_names(&fault.reason, &[&format!("{place}: the caption is not UTF-8 (from byte 3)")]);
    }
    // Where a caption should be, there is none.
    fs::remove_file(files.path().join("a.txt")).unwrap();
    std::os::unix::fs::symlink("nowhere.txt", files.path().join("a.txt")).unwrap();
    assert_eq!(try_open(files.path()).unwrap().caption_fault(0).unwrap().kind, Unreadable);
    fs::remove_file(files.path().join("a.txt")).unwrap();
    fs::write(files.path().join("a.txt"), "x".repeat((64 << 10) + 1)).unwrap();
    assert_eq!(try_open(files.path()).unwrap().caption_fault(0).unwrap().kind, Length);
}

#[test]
fn columns_of_parquet_files_that_are_no_texts_are_refused_by_name() {
    use CaptionFaultKind::{Kind, Missing};
    let two = || (vec!["x".into(); 2], vec![2; 2], None);
    let nested = (vec!["x".into(); 2], vec![4; 2], Some(vec![0, 0]));
    let of_list = "optional group captions (LIST) { repeated group list { optional group element { optional binary raw; } } }";
    for (column, columns, kind) in [
        (
            "optional group captions { optional binary raw; optional binary id; }",
            vec![two(), two()],
            "a struct of captions.raw, captions.id",
        ),
        (
            "optional group text { optional binary raw; }",
            vec![two()],
            "a struct, or lists in lists, in `text.raw`",
        ),
        (of_list, vec![nested], "in `captions.list.element.raw`"),
    ] {
        let folder = parquet_with(column, 2, &columns);
        let source = try_open(folder.path()).unwrap();
        let fault = source.caption_fault(1).unwrap();
        assert_eq!(fault.kind, Kind);
        assert_names(
            &fault.reason,
            &["set.parquet: the kind of the captions is ", kind, "a text or a list of texts"],
        );
        assert_names(&notes(&source), &["captions: 2 of 2 images have none that can be used", kind]);
        assert_eq!(source.caption_summary().unwrap().to_string(), "none that can be used");
    }
    // Numbers.
    let folder = TempDir::new().unwrap();
    write_parquet(&folder.path().join("set.parquet"), &[&[(Some(picture(0)), Some(3))]], None);
    let source = open_named(folder.path(), "label").unwrap();
    assert_names(&source.caption_fault(0).unwrap().reason, &["INT64 in `label`"]);
    assert_eq!(source.labels().unwrap(), [3]);
    // Nulls: of a text, of a list, inside of a list; an empty list.
    let texts = parquet_with(TEXT, 2, &[(vec!["x".into()], vec![0, 1], None)]);
    let source = try_open(texts.path()).unwrap();
    assert_eq!(
        (source.caption_fault(0).unwrap().kind, source.captions(1)),
        (Missing, ["x".to_owned()].as_slice())
    );
    let levels = vec![0, 1, 3, 2, 2, 3, 3];
    let lists = (vec!["x".into(), "y".into(), "z".into()], levels, Some(vec![0, 0, 0, 1, 0, 0, 1]));
    let source = try_open(parquet_with(LIST, 5, &[lists]).path()).unwrap();
    let kinds: Vec<_> = (0..5).map(|index| source.caption_fault(index).map(|fault| fault.kind)).collect();
    assert_eq!(kinds, [Some(Missing), Some(Missing), Some(Kind), Some(Kind), None]);
    assert_eq!(source.captions(4), ["y", "z"]);
}

/// Shards of which one lacks the column, and rows in several row groups and files.
#[test]
fn captions_of_several_shards_follow_their_rows() {
    let folder = TempDir::new().unwrap();
    let schema =
        |text: &str| format!("message schema {{ optional group img {{ optional binary bytes; }} {text} }}");
    let images = |count: usize| (vec![picture(0).into(); count], vec![2; count]);
    let shard = |number: usize| folder.path().join(format!("train-{number:05}-of-00003.parquet"));
    write_parquet_schema(&shard(0), &schema(TEXT), &[images(2), (vec!["a".into(), "b".into()], vec![1; 2])]);
    write_parquet_schema(&shard(1), &schema(""), &[images(1)]);
    write_parquet_schema(&shard(2), &schema(TEXT), &[images(2), (vec!["d".into(), "e".into()], vec![1; 2])]);
    let source = try_open(folder.path()).unwrap();
    let texts: Vec<String> = all(&source).into_iter().map(|texts| texts.join("")).collect();
    assert_eq!(texts, ["a", "b", "", "d", "e"]);
    assert_eq!(source.caption_fault(2).unwrap().kind, CaptionFaultKind::Missing);
}

/// Tables of img2dataset beside archives without texts, with rows in another order and of other pictures.
#[test]
fn tables_beside_archives_have_captions_by_key() {
    let folder = TempDir::new().unwrap();
    let schema = "message schema { optional binary key (UTF8); optional binary caption (UTF8); }";
    for shard in 0..2 {
        let key = |index| format!("{shard}{index}");
        let entries: Vec<_> = (0..2).map(|index| (format!("{}.png", key(index)), picture(index))).collect();
        fs::write(folder.path().join(format!("{shard}.tar")), tar_of(&entries)).unwrap();
        let keys = [1, 2, 0].map(|index| key(index).as_str().into()).to_vec();
        let texts = [1, 2, 0].map(|index| format!("text of {}", key(index)).as_str().into()).to_vec();
        let table = folder.path().join(format!("{shard}.parquet"));
        write_parquet_schema(&table, schema, &[(keys, vec![1; 3]), (texts, vec![1; 3])]);
    }
    let source = try_open(folder.path()).unwrap();
    assert_eq!(all(&source), [["text of 00"], ["text of 01"], ["text of 10"], ["text of 11"]]);
}

/// Numbers in `.txt` stay labels; as captions they are asked for.
#[test]
fn numbers_are_labels_unless_they_are_asked_for_as_captions() {
    let tar = archive(&[&[("txt", b"1")], &[("txt", b"0")]]);
    let source = try_open(tar.path()).unwrap();
    assert_eq!((source.labels().unwrap(), source.caption_summary()), ([1, 0].as_slice(), None));
    let source = open_named(tar.path(), "txt").unwrap();
    assert_eq!((all(&source), source.labels()), (vec![vec!["1".to_owned()], vec!["0".into()]], None));
    // Beside captions that are asked for elsewhere they are labels, too.
    let with = |prompt: &'static [u8]| -> Vec<(&str, &[u8])> { vec![("txt", b"4"), ("json", prompt)] };
    let tar = archive(&[&with(b"{\"prompt\": \"x\"}"), &with(b"{\"prompt\": \"y\"}")]);
    let source = open_named(tar.path(), "prompt").unwrap();
    assert_eq!(
        (all(&source), source.labels().unwrap()),
        (vec![vec!["x".to_owned()], vec!["y".into()]], [4, 4].as_slice())
    );
    // Files of boxes are no captions either; a file without a box is empty.
    let boxes = beside(
        3,
        &[("a.txt", b"0 0.5 0.5 0.25 0.125\n3 0.1 0.2 0.3 0.4\n"), ("b.txt", b""), ("c.txt", b"1 0 0 1 1\n")],
    );
    let source = try_open(boxes.path()).unwrap();
    assert_eq!(source.caption_summary(), None);
    assert_names(
        &notes(&source),
        &["not read: 3 .txt (with the names of images: captions and labels are not taken"],
    );
    assert_eq!(open_named(boxes.path(), "txt").unwrap().captions(2), ["1 0 0 1 1"]);
    // Where labels are elsewhere, numbers are neither, as ever.
    let tar = archive(&[&[("txt", b"1"), ("cls", b"cat")]]);
    let source = try_open(tar.path()).unwrap();
    assert_eq!(source.caption_summary(), None);
    assert_names(&notes(&source), &["not read: 1 .txt\n"]);
}

#[test]
fn captions_follow_their_images_through_selection_and_conversion() {
    let table = b"file_name,label,text\nc.png,1,see\na.png,0,eh\nb.png,1,be\n";
    let folder = beside(3, &[("metadata.csv", table)]);
    let preprocessing = Preprocessing { classes: Some(vec![1]), ..Preprocessing::default() };
    let source = try_open(folder.path()).unwrap();
    let in_colour = converted(Box::new(try_open(folder.path()).unwrap()), Channels::Rgb);
    for set in [&source as &dyn ImageSource, in_colour.as_ref()] {
        let prepared = prepare(set, &preprocessing).unwrap();
        assert_eq!(
            (prepared.source_indices(), prepared.names()),
            ([0, 2].as_slice(), ["c.png".to_owned(), "b.png".into()].as_slice())
        );
        assert_eq!(
            (prepared.captions(0), prepared.captions(1)),
            (["see".to_owned()].as_slice(), ["be".to_owned()].as_slice())
        );
    }
    // Of a split, its rows.
    let split = b"file_name,split,text\nc.png,test,see\na.png,train,eh\nb.png,test,be\n";
    let folder = beside(3, &[("metadata.csv", split)]);
    let test = crate::try_open_split(folder.path(), pentimento_data::Split::Test).unwrap();
    assert_eq!(all(&test), [["see"], ["be"]]);
}

/// What decoding tells does not depend on captions, so they come and change without it.
#[test]
fn captions_leave_the_index_as_it_is() {
    let (folder, cache) = (beside(2, &[]), TempDir::new().unwrap());
    let look = || {
        let options = OpenOptions { cache_dir: Some(cache.path().into()), ..OpenOptions::default() };
        let mut told = Vec::new();
        let source = open(folder.path(), &options, &mut |event| told.push(event.to_string())).unwrap();
        let file = fs::read_dir(cache.path().join("indexes")).unwrap().next().unwrap().unwrap().path();
        (told.iter().any(|event| event.contains("indexing the set")), fs::read(file).unwrap(), all(&source))
    };
    // Old enough for its stamps to prove something.
    for name in ["a.png", "b.png"] {
        let file = fs::File::options().write(true).open(folder.path().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }
    let (first, index, none) = look();
    assert!(first && none == [[] as [String; 0], []]);
    let (_, renewed, _) = look();
    for text in ["one", "another"] {
        for name in ["a.txt", "b.txt"] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let (again, now, captions) = look();
        assert!(!again && (now == index || now == renewed));
        assert_eq!(captions, [[text], [text]]);
    }
}

/// Pieces that tables, JSON and files of text could trip over, and any other character.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => any::<char>().prop_map(String::from),
        3 => prop::sample::select(vec![
            "\r\n", "\n", "\r", "\"", "'", ",", ";", "\t", " ", "\0", "\\", "\u{feff}", "e\u{301}", "7", "null", "[", "a red bar",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a caption says, it comes out of every layout that can hold it as it went in.
    #[test]
    fn any_text_survives(text in any_text(), other in any_text()) {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let one = vec![vec![text.clone()], vec!["a word".to_owned()]];
        let several = vec![vec![text.clone(), other.clone()], vec!["a word".to_owned()]];

        let doubled = text.replace('"', "\"\"");
        let csv = format!("file_name,text\na.png,\"{doubled}\"\nb.png,a word\n");
        prop_assert_eq!(&all(&try_open(beside(2, &[("metadata.csv", csv.as_bytes())]).path()).unwrap()), &one);

        let list = format!("[{}, {}]", quoted(&text), quoted(&other));
        let lines = format!("{{\"file_name\": \"a.png\", \"text\": {list}}}\n{{\"file_name\": \"b.png\", \"text\": \"a word\"}}\n");
        let folder = beside(2, &[("metadata.jsonl", lines.as_bytes())]);
        prop_assert_eq!(&all(&try_open(folder.path()).unwrap()), &several);

        let json = format!("{{\"caption\": {list}}}");
        let tar = archive(&[&[("json", json.as_bytes())], &[("json", b"{\"caption\": \"a word\"}")]]);
        prop_assert_eq!(&all(&try_open(tar.path()).unwrap()), &several);

        let texts = vec![text.as_str().into(), "a word".into()];
        let parquet = parquet_with(TEXT, 2, &[(texts, vec![1; 2], None)]);
        prop_assert_eq!(&all(&try_open(parquet.path()).unwrap()), &one);
        let texts = vec![text.as_str().into(), other.as_str().into(), "a word".into()];
        let parquet = parquet_with(LIST, 2, &[(texts, vec![3; 3], Some(vec![0, 1, 0]))]);
        prop_assert_eq!(&all(&try_open(parquet.path()).unwrap()), &several);

        // A file of text holds no mark at its start, no line ends of other systems, and none after the text.
        if !text.starts_with('\u{feff}') && !text.contains("\r\n") && !text.ends_with(['\n', '\r']) {
            let files = beside(2, &[("a.txt", text.as_bytes()), ("b.txt", b"a word")]);
            prop_assert_eq!(&all(&try_open(files.path()).unwrap()), &one);
            let tar = archive(&[&[("txt", text.as_bytes())], &[("txt", b"a word")]]);
            prop_assert_eq!(&all(&try_open(tar.path()).unwrap()), &one);
        }
    }
}
