//! Taking objects over from another run: all or none, checked, and as often as one likes.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use pentimento_store::{Fingerprint, Run, StoreError};
use std::fs;

const NAMES: [&str; 2] = ["shards/7.bin", "shards/7.json"];

fn key(text: &str) -> Fingerprint {
    Fingerprint::of("test").text(text).finish()
}

struct Two {
    _folder: tempfile::TempDir,
    own: Run,
    other: Run,
}

fn two() -> Two {
    let folder = tempfile::tempdir().unwrap();
    let own = Run::create_or_open(folder.path().join("own")).unwrap();
    let other = Run::create_or_open(folder.path().join("other")).unwrap();
    other.put_many([(NAMES[0], b"seven".to_vec()), (NAMES[1], b"{}".to_vec())], key("seven")).unwrap();
    Two { _folder: folder, own, other }
}

#[test]
fn what_is_taken_over_is_as_if_it_had_been_put_here() {
    let Two { own, other, _folder } = two();
    assert_eq!(own.adopt(&other, NAMES, key("seven")).unwrap(), 2);
    for name in NAMES {
        assert_eq!(own.get(name).unwrap(), other.get(name).unwrap());
        assert_eq!(own.entry(name), other.entry(name));
    }
    assert!(own.verify().unwrap().is_empty() && other.verify().unwrap().is_empty());
    // Again: nothing is written.
    assert_eq!(own.adopt(&other, NAMES, key("seven")).unwrap(), 0);
    // But what was damaged here in the meantime is.
    fs::write(own.root().join(NAMES[0]), b"SEVEN").unwrap();
    assert_eq!(own.adopt(&other, NAMES, key("seven")).unwrap(), 1);
    assert_eq!(own.get(NAMES[0]).unwrap(), b"seven");
}

#[test]
fn what_is_foreign_damaged_or_not_there_is_refused_with_everything_beside_it() {
    let Two { own, other, _folder } = two();
    own.put("shards/7.json", key("six"), b"before").unwrap();
    let refused = own.adopt(&other, NAMES, key("eight")).unwrap_err();
    assert!(matches!(refused, StoreError::MadeFromOther { .. }), "{refused}");
    let refused = own.adopt(&other, [NAMES[0], "shards/8.bin"], key("seven")).unwrap_err();
    assert!(matches!(refused, StoreError::NotListed { .. }), "{refused}");
    fs::write(other.root().join(NAMES[1]), b"[]").unwrap();
    let refused = own.adopt(&other, NAMES, key("seven")).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    fs::remove_file(other.root().join(NAMES[1])).unwrap();
    let refused = own.adopt(&other, NAMES, key("seven")).unwrap_err();
    assert!(matches!(refused, StoreError::Missing { .. }), "{refused}");
    assert_eq!(own.names(), ["shards/7.json"]);
    assert_eq!(own.get("shards/7.json").unwrap(), b"before");
    assert!(own.verify().unwrap().is_empty());
    let reading = Run::open_read_only(own.root()).unwrap();
    assert!(matches!(reading.adopt(&other, NAMES, key("seven")), Err(StoreError::OpenForReadingOnly { .. })));
}
