//! What goes in comes out, and only that: objects, the manifest's form, damage.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::collections::BTreeMap;
use std::fs;

use std::path::Path;

use pentimento_store::{Digest, Fingerprint, Problem, Run, StoreError};
use proptest::prelude::*;
use tempfile::TempDir;

fn empty_run() -> (TempDir, Run) {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::create_or_open(folder.path().join("run")).unwrap();
    (folder, run)
}

fn key(text: &str) -> Fingerprint {
    Fingerprint::of("test").text(text).finish()
}

#[test]
fn an_object_is_an_ordinary_file_at_its_name() {
    let (_folder, run) = empty_run();
    let name = "members/003/unet/diffusion_pytorch_model.safetensors";
    run.put(name, key("a"), b"weights").unwrap();

    let path = run.root().join("members/003/unet/diffusion_pytorch_model.safetensors");
    assert_eq!(run.path_of(name).unwrap(), path);
    assert_eq!(fs::read(path).unwrap(), b"weights");
    assert_eq!(run.get(name).unwrap(), b"weights");
    assert_eq!(run.names(), [name]);
    let entry = run.entry(name).unwrap();
    assert_eq!((entry.bytes, entry.blake3, entry.made_from), (7, Digest::of(b"weights"), key("a")));
}

#[test]
fn a_run_is_the_same_after_it_is_opened_again() {
    let (_folder, run) = empty_run();
    run.put("a", key("a"), b"1").unwrap();
    run.put_many([("b/c", vec![2; 100_000]), ("b/d", vec![])], key("b")).unwrap();
    let root = run.root().to_path_buf();
    let entries: Vec<_> = run.names().iter().map(|name| run.entry(name)).collect();
    drop(run);

    for run in [Run::open_read_only(&root).unwrap(), Run::create_or_open(&root).unwrap()] {
        assert_eq!(run.names(), ["a", "b/c", "b/d"]);
        assert_eq!(run.names().iter().map(|name| run.entry(name)).collect::<Vec<_>>(), entries);
        assert_eq!(run.get("b/c").unwrap(), vec![2; 100_000]);
        assert_eq!(run.get("b/d").unwrap(), b"");
        assert!(run.verify().unwrap().is_empty());
    }
}

/// The form of a manifest, by hand. The digests are the published ones of blake3 for no bytes and for `abc`.
#[test]
fn the_manifest_is_sorted_readable_json() {
    let (_folder, run) = empty_run();
    let manifest = || fs::read_to_string(run.root().join("manifest.json")).unwrap();
    assert_eq!(manifest(), "{\n  \"format\": 1,\n  \"objects\": {}\n}\n");
    run.put("z", key("a"), b"").unwrap();
    run.put("a/b", key("b"), b"abc").unwrap();
    let expected = format!(
        r#"{{
  "format": 1,
  "objects": {{
    "a/b": {{
      "bytes": 3,
      "blake3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
      "made_from": "{}"
    }},
    "z": {{
      "bytes": 0,
      "blake3": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
      "made_from": "{}"
    }}
  }}
}}
"#,
        key("b"),
        key("a")
    );
    assert_eq!(manifest(), expected);
}

/// A run that was written by hand in format 1 must stay readable.
#[test]
fn a_run_of_format_1_opens() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/b"), "abc").unwrap();
    let manifest = r#"{"format":1,"objects":{"a/b":{"bytes":3,
        "blake3":"6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        "made_from":"0000000000000000000000000000000000000000000000000000000000000001"}}}"#;
    fs::write(folder.path().join("manifest.json"), manifest).unwrap();
    let run = Run::open_read_only(folder.path()).unwrap();
    assert_eq!(run.get("a/b").unwrap(), b"abc");
    assert!(run.entry("a/b").unwrap().made_from.to_string().ends_with("01"));
}

#[test]
fn is_current_asks_for_the_fingerprint_and_the_length() {
    let (_folder, run) = empty_run();
    assert!(!run.is_current("a", key("1")));
    run.put("a", key("1"), b"abc").unwrap();
    assert!(run.is_current("a", key("1")));
    assert!(!run.is_current("a", key("2")));
    assert!(!run.is_current("../a", key("1")));
    fs::write(run.root().join("a"), b"ab").unwrap();
    assert!(!run.is_current("a", key("1")));
    fs::remove_file(run.root().join("a")).unwrap();
    assert!(!run.is_current("a", key("1")));
}

#[test]
fn replacing_an_object_changes_bytes_and_fingerprint() {
    let (_folder, run) = empty_run();
    for (text, bytes) in [("1", "one"), ("2", "two"), ("3", "two"), ("1", "one")] {
        run.put("a", key(text), bytes.as_bytes()).unwrap();
        assert_eq!(run.get("a").unwrap(), bytes.as_bytes());
        assert!(run.is_current("a", key(text)));
        assert!(run.verify().unwrap().is_empty());
    }
}

#[test]
fn a_removed_object_is_gone() {
    let (_folder, run) = empty_run();
    run.put("a/b", key("1"), b"abc").unwrap();
    assert!(run.remove("a/b").unwrap());
    assert!(!run.remove("a/b").unwrap());
    assert!(matches!(run.get("a/b"), Err(StoreError::NotListed { .. })));
    assert!(!run.root().join("a/b").exists());
    // The folder may now become an object.
    run.put("a", key("1"), b"abc").unwrap();
    assert_eq!(run.get("a").unwrap(), b"abc");
}

#[test]
fn names_that_leave_the_run_or_clash_are_refused() {
    let (folder, run) = empty_run();
    run.put("a/b", key("1"), b"abc").unwrap();
    for name in ["../x", "/x", "", "a//b", "manifest.json", ".lock", "a", "a/b/c", "x/.tmp-1"] {
        let refused = run.put(name, key("1"), b"evil");
        assert!(matches!(refused, Err(StoreError::BadName { .. })), "{name}: {refused:?}");
    }
    let twice = run.put_many([("x", "1"), ("y", "2"), ("x", "3")], key("1"));
    assert!(matches!(twice, Err(StoreError::BadName { .. })));
    assert!(!folder.path().join("x").exists());
    assert_eq!(run.names(), ["a/b"]);
    assert_eq!(run.get("a/b").unwrap(), b"abc");
    assert!(run.verify().unwrap().is_empty(), "a refused object left a file");
}

#[test]
fn a_failing_writer_leaves_nothing() {
    let (_folder, run) = empty_run();
    run.put("a", key("1"), b"old").unwrap();
    for name in ["a", "b"] {
        let failed = run.put_with(name, key("2"), |writer| {
            writer.write_all(&[1; 300_000])?;
            Err(std::io::Error::other("the source of the bytes broke"))
        });
        assert!(failed.unwrap_err().to_string().contains("the source of the bytes broke"));
    }
    assert_eq!(run.get("a").unwrap(), b"old");
    assert!(run.verify().unwrap().is_empty());
}

#[test]
fn put_with_hashes_what_is_written_in_any_pieces() {
    let (_folder, run) = empty_run();
    let content: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
    for piece in [1, 1000, 70_000, 1_000_000] {
        run.put_with("a", key(&piece.to_string()), |writer| {
            content.chunks(piece).try_for_each(|piece| writer.write_all(piece))
        })
        .unwrap();
        assert_eq!(run.entry("a").unwrap().blake3, Digest::of(&content));
        assert!(run.get("a").unwrap() == content);
    }
}

/// The usual limit is 1024.
#[test]
fn put_many_takes_more_objects_than_files_may_be_open() {
    let (_folder, run) = empty_run();
    let objects = (0..1100_u32).map(|index| (format!("samples/{index:05}.png"), index.to_le_bytes()));
    run.put_many(objects, key("1")).unwrap();
    assert_eq!(run.names().len(), 1100);
    assert_eq!(run.get("samples/01099.png").unwrap(), 1099_u32.to_le_bytes());
    assert!(run.verify().unwrap().is_empty());
}

#[test]
fn threads_may_put_and_get_at_the_same_time() {
    let (_folder, run) = empty_run();
    run.put("shared", key("start"), &[0; 1000]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let run = &run;
            scope.spawn(move || {
                for index in 0..25_u8 {
                    run.put(&format!("own/{thread}/{index}"), key("own"), &[thread, index]).unwrap();
                    run.put("shared", key("shared"), &[thread * 25 + index; 1000]).unwrap();
                    // Whoever wrote it last, it is whole.
                    let shared = run.get("shared").unwrap();
                    assert!(shared.len() == 1000 && shared.iter().all(|byte| *byte == shared[0]));
                }
            });
        }
    });
    assert_eq!(run.names().len(), 101);
    assert_eq!(run.get("own/3/24").unwrap(), [3, 24]);
    assert!(run.verify().unwrap().is_empty());
}

#[test]
fn damage_is_found_and_named() {
    let (_folder, run) = empty_run();
    for name in ["good", "flipped", "short", "long", "missing", "folder"] {
        run.put(name, key("1"), b"0123456789").unwrap();
    }
    let file = |name: &str| run.root().join(name);
    fs::write(file("flipped"), b"0123466789").unwrap();
    fs::write(file("short"), b"012345678").unwrap();
    fs::write(file("long"), b"0123456789 ").unwrap();
    fs::remove_file(file("missing")).unwrap();
    fs::remove_file(file("folder")).unwrap();
    fs::create_dir(file("folder")).unwrap();
    fs::write(file("stray"), b"").unwrap();

    assert_eq!(run.get("good").unwrap(), b"0123456789");
    let expected: BTreeMap<&str, &str> = [
        ("flipped", "the blake3 digest"),
        ("short", "the length in bytes"),
        ("long", "the length in bytes"),
        ("folder", "its kind"),
    ]
    .into();
    for (name, expected_field) in &expected {
        for error in [run.get(name).unwrap_err(), run.path_of(name).unwrap_err()] {
            let StoreError::Corrupt { file: named, field, .. } = &error else { panic!("{name}: {error:?}") };
            assert_eq!((named, field), (&file(name), expected_field));
        }
    }
    assert!(
        matches!(run.get("missing"), Err(StoreError::Missing { file: named }) if named == file("missing"))
    );

    let mut objects = Vec::new();
    let mut unlisted = Vec::new();
    for problem in run.verify().unwrap() {
        match problem {
            Problem::Object { name, .. } => objects.push(name),
            Problem::Unlisted { file } => unlisted.push(file),
            other => panic!("{other}"),
        }
    }
    assert_eq!(objects, ["flipped", "folder", "long", "missing", "short"]);
    assert_eq!(unlisted, [file("stray")]);

    // Making a damaged object again mends it.
    for name in ["flipped", "short", "long", "missing", "folder"] {
        run.put(name, key("1"), b"0123456789").unwrap();
        assert_eq!(run.get(name).unwrap(), b"0123456789");
    }
}

#[test]
fn clean_deletes_leftovers_and_nothing_else() {
    let (folder, mut run) = empty_run();
    run.put("a/b", key("1"), b"abc").unwrap();
    let root = run.root().to_path_buf();
    fs::create_dir_all(root.join("left/over")).unwrap();
    fs::write(root.join("left/over/object"), b"1").unwrap();
    fs::write(root.join("a/.tmp-123456"), b"2").unwrap();
    fs::write(root.join("notes.txt"), b"a person's own").unwrap();
    fs::write(folder.path().join("outside"), b"3").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), root.join("link")).unwrap();

    // They are not there for readers.
    assert!(matches!(run.get("left/over/object"), Err(StoreError::NotListed { .. })));
    assert_eq!(run.names(), ["a/b"]);

    let deleted = run.clean(|name| name.starts_with("left/")).unwrap();
    assert_eq!(deleted, [root.join("a/.tmp-123456"), root.join("left/over/object")]);
    assert!(!root.join("left").exists());
    assert!(root.join("notes.txt").exists(), "a file that the run did not write is gone");
    assert!(folder.path().join("outside").exists(), "a link was followed");
    assert_eq!(run.get("a/b").unwrap(), b"abc");
    assert_eq!(run.verify().unwrap().len(), 1, "the person's file is still not listed");
    run.put("c", key("1"), b"d").unwrap();
}

#[test]
fn a_folder_with_other_files_is_not_taken_for_a_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), b"years of work").unwrap();
    let refused = Run::create_or_open(folder.path());
    assert!(matches!(refused, Err(StoreError::NotARun { found, .. }) if found == "thesis.tex"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a refused folder was written to");
    assert!(matches!(Run::open_read_only(folder.path()), Err(StoreError::Missing { .. })));

    let file = folder.path().join("thesis.tex");
    assert!(matches!(Run::create_or_open(&file), Err(StoreError::Io { .. })));
    assert!(Run::create_or_open(file.join("below")).is_err());
}

fn open_with_manifest(manifest: &[u8]) -> Result<Run, StoreError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("manifest.json"), manifest).unwrap();
    let read_only = Run::open_read_only(folder.path());
    assert_eq!(read_only.is_ok(), Run::create_or_open(folder.path()).is_ok());
    read_only
}

const ENTRY: &str = r#"{"bytes": 3, "blake3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
  "made_from": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"}"#;

#[test]
fn a_manifest_that_lies_is_refused_with_its_place() {
    let valid = format!("{{\"format\": 1, \"objects\": {{\n\"a\": {ENTRY}}}}}");
    assert_eq!(open_with_manifest(valid.as_bytes()).unwrap().names(), ["a"]);
    for (from, to, line, says) in [
        ("\"a\"", "\"../../etc/passwd\"", 2, "`..`"),
        ("\"a\"", "\"/etc/passwd\"", 2, "absolute"),
        ("\"a\"", "\"manifest.json\"", 2, "the run itself"),
        ("6437", "64", 2, "64 hexadecimal"),
        ("6437", "zz37", 2, "64 hexadecimal"),
        ("3,", "-3,", 2, "-3"),
        ("\"bytes\"", "\"length\"", 2, "length"),
        ("\"objects\"", "\"objets\"", 1, "objets"),
        ("}", "", 3, "EOF"),
        ("\"format\": 1", "\"format\": \"1\"", 1, "string"),
        ("\"format\": 1, ", "", 3, "format"),
        (
            "\"objects\"",
            &format!("\"pending\": {{\"a\": {{\"temporary\": \"../x\", \"entry\": {ENTRY}}}}}, \"objects\""),
            1,
            "temporary file",
        ),
    ] {
        let error = open_with_manifest(valid.replacen(from, to, 1).as_bytes()).unwrap_err();
        let text = error.to_string();
        let StoreError::Manifest { line: found, .. } = error else { panic!("{to}: {error:?}") };
        assert_eq!(found, line, "{to}: {text}");
        assert!(text.contains(says) && text.contains("manifest.json`, line"), "{to}: {text}");
    }
}

#[test]
fn a_manifest_of_a_later_format_is_refused_as_such() {
    let error = open_with_manifest(br#"{"format": 2, "things": []}"#).unwrap_err();
    assert!(matches!(error, StoreError::Format { found: 2, supported: 1, .. }));
}

/// A length that no machine could hold must not be allocated.
#[test]
fn a_listed_length_is_compared_before_anything_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let entry = ENTRY.replace("3,", "18446744073709551615,");
    fs::write(folder.path().join("manifest.json"), format!("{{\"format\":1,\"objects\":{{\"a\":{entry}}}}}"))
        .unwrap();
    fs::write(folder.path().join("a"), b"abc").unwrap();
    let run = Run::open_read_only(folder.path()).unwrap();
    assert!(matches!(run.get("a"), Err(StoreError::Corrupt { .. })));
}

#[derive(Clone, Debug)]
enum Step {
    Put(String, Vec<u8>),
    PutMany(BTreeMap<String, Vec<u8>>),
    Remove(String),
    Reopen,
    Clean,
}

fn any_step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(vec!["a", "b", "c/d", "c/e", "c/f/g"]).prop_map(str::to_owned);
    let bytes = || prop::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        4 => (name(), bytes()).prop_map(|(name, bytes)| Step::Put(name, bytes)),
        3 => prop::collection::btree_map(name(), bytes(), 0..4).prop_map(Step::PutMany),
        2 => name().prop_map(Step::Remove),
        1 => Just(Step::Reopen),
        1 => Just(Step::Clean),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_run_behaves_as_a_map(steps in prop::collection::vec(any_step(), 1..20)) {
        let (_folder, mut run) = empty_run();
        let mut model: BTreeMap<String, (Vec<u8>, Fingerprint)> = BTreeMap::new();
        for (index, step) in steps.into_iter().enumerate() {
            let made_from = key(&index.to_string());
            match step {
                Step::Put(name, bytes) => {
                    run.put(&name, made_from, &bytes).unwrap();
                    model.insert(name, (bytes, made_from));
                }
                Step::PutMany(objects) => {
                    run.put_many(&objects, made_from).unwrap();
                    model.extend(objects.into_iter().map(|(name, bytes)| (name, (bytes, made_from))));
                }
                Step::Remove(name) => {
                    prop_assert_eq!(run.remove(&name).unwrap(), model.remove(&name).is_some());
                }
                Step::Reopen => {
                    let root = run.root().to_path_buf();
                    drop(run);
                    run = Run::create_or_open(root).unwrap();
                }
                Step::Clean => prop_assert!(run.clean(|_| true).unwrap().is_empty()),
            }
            prop_assert_eq!(run.names(), model.keys().cloned().collect::<Vec<_>>());
            for (name, (bytes, made_from)) in &model {
                prop_assert_eq!(&run.get(name).unwrap(), bytes);
                prop_assert!(run.is_current(name, *made_from));
            }
            prop_assert!(run.verify().unwrap().is_empty());
        }
    }

    #[test]
    fn a_cut_manifest_is_an_error(cut in 0_usize..300) {
        let manifest = format!("{{\"format\": 1, \"objects\": {{\n\"a\": {ENTRY}}}}}");
        prop_assume!(cut < manifest.len());
        let refused = open_with_manifest(&manifest.as_bytes()[..cut]);
        let is_manifest_error = matches!(refused, Err(StoreError::Manifest { .. }));
        prop_assert!(is_manifest_error);
    }

    #[test]
    fn a_manifest_with_a_changed_byte_never_panics(position in 0_usize..300, byte in any::<u8>()) {
        let mut manifest = format!("{{\"format\": 1, \"objects\": {{\n\"a\": {ENTRY}}}}}").into_bytes();
        prop_assume!(position < manifest.len());
        manifest[position] = byte;
        if let Ok(run) = open_with_manifest(&manifest) {
            prop_assert!(run.names().iter().all(|name| Path::new(name).components().count() == 1));
        }
    }
}
