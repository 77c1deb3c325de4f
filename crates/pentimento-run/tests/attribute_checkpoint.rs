//! A checkpoint that diffusers wrote is imported, scored and exported by functions alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use pentimento_run::checkpoint::{Selection, export_network, import_checkpoint, open_checkpoint};
use pentimento_run::doctor::{FindingKind, check_images, check_network};
use pentimento_run::gradients::QuerySet;
use pentimento_run::score_tables::{ImagesSince, KeptTable, kept_sets, score_training_images};
use pentimento_run::{Event, FailureKind, Reporter, RunError, RunOptions};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A NumPy file of grey images of 8 x 8 pixels.
fn write_images(path: &Path, count: usize) {
    let mut header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, 8, 8), }}");
    header.push_str(&" ".repeat(117 - header.len()));
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(header.as_bytes());
    bytes.push(b'\n');
    bytes.extend((0..64 * count).map(|at| ((at * at * 7 + at * 31) % 251) as u8));
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (images, run) = (folder.path().join("images.npy"), folder.path().join("run"));
    write_images(&images, 20);
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let reporter = Reporter::new(move |event| {
        if !matches!(event, Event::Progressed { .. }) {
            heard.lock().unwrap().push(event.to_string());
        }
    });
    let options = RunOptions { reporter, ..RunOptions::default() };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/plain");
    let opened = open_checkpoint(&golden, &Selection::default(), &options.reporter).unwrap();

    // What is sound of the network has nothing to do with images that it never saw.
    let of_network = check_network(&opened).unwrap();
    assert!(of_network.iter().all(|finding| finding.kind() == FindingKind::Good), "{of_network:?}");
    let of_images = check_images(&opened, images.to_str().unwrap(), false, &options).unwrap();
    let problems = of_images.iter().filter(|finding| finding.kind() == FindingKind::Problem);
    assert!(problems.count() > 0, "{of_images:?}");

    let settings = [
        format!("data.path={images:?}"),
        "samples.count=2".into(),
        "gradients.timesteps=2".into(),
        "gradients.dimension=64".into(),
    ];
    let workspace = import_checkpoint(&opened, Some(&run), &settings, options).unwrap();
    let importing = "44969 parameters, images with one channel; samples by DDPM in 20 steps".to_owned();
    assert!(said.lock().unwrap().contains(&importing), "{said:?}");

    // A name that does not exist is refused before samples are made.
    let refused = score_training_images(&workspace, "trac", QuerySet::Samples).map(|table| table.method.name);
    assert!(matches!(refused, Err(RunError::NoSuch { .. })), "{refused:?}");
    let journey = score_training_images(&workspace, "journey-trak", QuerySet::TrainingImages(vec![3]));
    assert_eq!(journey.map(|table| table.method.name).unwrap_err().kind(), FailureKind::Input);
    assert!(!workspace.run.names().iter().any(|name| name.starts_with("samples/")));

    let table = score_training_images(&workspace, "d-trak", QuerySet::Samples).unwrap();
    assert!(said.lock().unwrap().iter().any(|line| line == "d-trak: 20 training images and 2 queries"));
    let kept = KeptTable::open(&workspace, &QuerySet::Samples, None).unwrap();
    let queries = kept.queries(None).unwrap();
    assert_eq!(queries.iter().map(|query| &query.name[..]).collect::<Vec<_>>(), ["0", "1"]);
    for (place, query) in queries.iter().enumerate() {
        assert_eq!(query.first(20), table.first(place, 20));
        assert!(query.images.iter().all(|image| image.interval.is_some()));
    }
    let staleness = kept.staleness().unwrap();
    assert!(!staleness.made_with_changed && matches!(staleness.images, ImagesSince::Same), "{staleness:?}");

    score_training_images(&workspace, "pixel-cosine", QuerySet::TrainingImages(vec![3])).unwrap();
    let sets: Vec<_> = kept_sets(&workspace.run).into_iter().map(|set| (set.asked, set.methods)).collect();
    assert_eq!(sets[0], ("3".into(), vec!["pixel-cosine".to_owned()]));
    assert_eq!(sets[1], ("samples".into(), vec!["d-trak".to_owned()]));

    let exported = folder.path().join("exported");
    export_network(&run, &exported, None).unwrap();
    let weights = "unet/diffusion_pytorch_model.safetensors";
    assert!(fs::read(exported.join(weights)).unwrap() == fs::read(golden.join(weights)).unwrap());
    assert!(matches!(export_network(&run, &exported, None), Err(RunError::Occupied { .. })));
    let other = export_network(&run, &folder.path().join("other"), Some(1));
    assert!(matches!(other, Err(RunError::NoMember { member: Some(1), members: 1, .. })), "{other:?}");
}
