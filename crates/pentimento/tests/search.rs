//! `pentimento search`: the run's own codes and code files, and what is wrong with either.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{
    Laboratory, assert_equal_runs, assert_names, assert_verified, fail, objects, program, run_command,
    succeed,
};
use std::fs;
use std::path::Path;
use std::process::Command;

const WRONG_INPUT: i32 = 42;

fn search(run: &Path, more: &[&str]) -> Command {
    let mut command = program([Path::new("search"), run]);
    command.args(more);
    command
}

/// (code number, distance as it is printed, the rest of the line) of each row of the table of a sample.
fn rows(stdout: &str, sample: u32) -> Vec<(usize, String, String)> {
    let start = format!("sample {sample}:");
    let table = stdout.lines().skip_while(|line| !line.starts_with(&start)).skip(2);
    let rows = table.take_while(|line| !line.starts_with("sample"));
    rows.map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        (columns[1].parse().unwrap(), columns[3].to_string(), columns[4..].join(" "))
    })
    .collect()
}

#[test]
fn a_search_ranks_as_attribution_does_and_takes_any_code_file() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    succeed(&mut run_command(&laboratory.image_recipe(), &run, &[]));

    // Another way to the same ranking: the distances that `attribute` prints, sample by sample.
    let attribute = |method: &str| {
        let run = run.to_str().unwrap();
        succeed(&mut program(["attribute", run, "--method", method, "--top", "7"])).stdout
    };
    let compare = |method: &str, samples: [u32; 2]| {
        let listed = attribute(method);
        let ids = samples.map(|sample| sample.to_string());
        let asked = ["--sample", &ids[0], "--sample", &ids[1], "--top", "7", "--method", method];
        let found = succeed(&mut search(&run, &asked));
        assert_names(&found.stderr, &["20 codes for 2 samples", "codes/s", "GB/s"]);
        // Both say in one line what their distances are about, and so does the table that is kept.
        let about = listed.lines().find(|line| line.starts_with("behaviour: the finished picture")).unwrap();
        assert_names(
            about,
            &["intervention: the members that saw the image, to ", "training process: none again"],
        );
        assert!(found.stdout.lines().any(|line| line == about), "{}", found.stdout);
        let kept = fs::read_to_string(run.join(format!("scores/{method}.json"))).unwrap();
        assert_names(&kept, &["\"behaviour\":", "\"intervention\":", "\"training_process\":"]);
        for sample in samples {
            let line = listed.lines().find(|line| line.starts_with(&format!("sample {sample}: "))).unwrap();
            let expected = line.split_once(": ").unwrap().1;
            let rows = rows(&found.stdout, sample);
            let printed: Vec<String> =
                rows.iter().map(|(_, distance, group)| format!("{group} ({distance})")).collect();
            assert_eq!(printed.join(", "), expected);
        }
    };
    compare("second-order", [17, 0]);
    let before = objects(&run);

    // The same codes as 32-bit integers, in reverse, and each twice: the lower number first.
    let codes: Vec<u64> = fs::read(run.join("codes.npy")).unwrap()[128..]
        .chunks_exact(8)
        .map(|code| u64::from_le_bytes(code.try_into().unwrap()))
        .collect();
    assert_eq!(codes.len(), 20);
    let turned: Vec<u8> =
        codes.iter().rev().chain(codes.iter().rev()).flat_map(|&code| (code as u32).to_le_bytes()).collect();
    let file = |length: usize, data: &[u8]| {
        let mut header = format!("{{'descr': '<u4', 'fortran_order': False, 'shape': ({length},), }}");
        // As NumPy does: the codes begin at a multiple of 64 bytes.
        header.extend(std::iter::repeat_n(' ', 63 - (10 + header.len()) % 64));
        header.push('\n');
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    };
    let further = laboratory.path("further.npy");
    fs::write(&further, file(40, &turned)).unwrap();
    let own = rows(&succeed(&mut search(&run, &["--sample", "3"])).stdout, 3);
    let other = ["--sample", "3", "--codes", further.to_str().unwrap(), "--top", "20"];
    let other = rows(&succeed(&mut search(&run, &other)).stdout, 3);
    assert_eq!((own.len(), other.len()), (10, 20));
    let distances =
        |rows: &[(usize, String, String)]| rows.iter().map(|row| row.1.clone()).collect::<Vec<_>>();
    let twice: Vec<String> =
        distances(&own).into_iter().flat_map(|distance| [distance.clone(), distance]).collect();
    assert_eq!(distances(&other), twice);
    for (pair, (number, _, _)) in other.chunks_exact(2).zip(&own) {
        assert_eq!([pair[0].0, pair[1].0], [19 - number, 39 - number]);
    }

    // What is wrong is named, with exit code 42.
    let refused = |name: &str, bytes: &[u8], words: &[&str]| {
        let path = laboratory.path(name);
        fs::write(&path, bytes).unwrap();
        let said =
            fail(&mut search(&run, &["--sample", "0", "--codes", path.to_str().unwrap()]), WRONG_INPUT);
        assert_names(&said, &[&[name], words].concat());
    };
    refused("empty.npy", b"", &["length is 0 bytes"]);
    refused("none.npy", &file(0, b""), &["`shape` is (0,)"]);
    refused("truncated.npy", &file(40, &turned[..150]), &["are 160 bytes, but 150 follow"]);
    refused(
        "longer-codes.npy",
        &file(2, &[turned[..4].to_vec(), vec![0x83, 0, 0, 0]].concat()),
        &["code 1", "6 members"],
    );
    refused("other-weight.npy", &file(1, &[0x1F, 0, 0, 0]), &["code 0", "weight is 5", "h = 3"]);
    let said = fail(&mut search(&run, &["--sample", "0", "--codes", "/nowhere/codes.npy"]), WRONG_INPUT);
    assert_names(&said, &["/nowhere/codes.npy", "No such file"]);
    let folder = laboratory.path("");
    let said = fail(&mut search(&run, &["--sample", "0", "--codes", folder.to_str().unwrap()]), WRONG_INPUT);
    assert_names(&said, &["not a regular file"]);
    assert_names(&fail(&mut search(&run, &["--sample", "20"]), WRONG_INPUT), &["sample 20", "0 to 19"]);
    assert_names(
        &fail(&mut search(&run, &["--sample", "5", "--method", "jacobian"]), WRONG_INPUT),
        &["full Jacobian of sample 5"],
    );
    assert_names(&fail(&mut search(&run, &[]), 2), &["--sample"]);
    assert_names(&fail(&mut search(&run, &["--sample", "0", "--top", "0"]), 2), &["--top"]);
    assert_names(
        &fail(&mut search(&laboratory.path("absent"), &["--sample", "0"]), WRONG_INPUT),
        &["absent"],
    );

    // A code that is another group's would give its name to the wrong distance.
    let whole = fs::read(run.join("codes.npy")).unwrap();
    let mut swapped = whole.clone();
    swapped[128..144].rotate_left(8);
    fs::write(run.join("codes.npy"), swapped).unwrap();
    assert_names(&fail(&mut search(&run, &["--sample", "0"]), 1), &["codes.npy"]);
    fs::write(run.join("codes.npy"), whole).unwrap();

    // A search writes nothing.
    assert_equal_runs(&before, &run);
    assert_verified(&run);

    // The paper's Jacobian is there for the samples that are measured.
    let some = succeed(&mut program(["attribute", run.to_str().unwrap(), "--method", "jacobian"]));
    let listed: Vec<&str> = some.stdout.lines().filter(|line| line.starts_with("sample ")).collect();
    assert_eq!(listed.len(), 3, "those that are measured: {listed:?}");
    let command =
        format!("`pentimento run {} --set attribution.fidelity_samples=20 --replace`", run.display());
    assert_names(&some.stderr, &["only 3 of 20 samples", "full Jacobian of sample 3", &command]);
    succeed(&mut run_command(
        &laboratory.image_recipe(),
        &run,
        &["--set", "attribution.fidelity_samples=20", "--replace"],
    ));
    compare("jacobian", [0, 19]);
}
