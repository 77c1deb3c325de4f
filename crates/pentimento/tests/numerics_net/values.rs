//! Scores that are compared by value, where last digits differ between processors.

/// Largest difference of two scores, as a share of the largest score. With AVX2 and FMA hidden from the program, `das` and
/// `trak` differed by nothing in `f32`, and `influence` by 1.2e-7 (`small`) and 9.8e-6 (`imported`), which
/// leaves it almost no room; ARM was not tried.
const TOLERANCE: f32 = 1e-5;

/// Images at the head of a list, which have to be the same.
const FIRST: usize = 10;

/// What is wrong with scores beside expected ones, both as array files `[queries, images]` of `f32`.
pub fn difference(expected: &[u8], found: &[u8]) -> Option<String> {
    let (images, expected) = scores(expected);
    let (other, found) = scores(found);
    if images != other || expected.len() != found.len() {
        return Some("another shape".into());
    }
    let largest = expected.iter().fold(0.0f32, |largest, score| largest.max(score.abs()));
    let apart = expected.iter().zip(&found).map(|(a, b)| (a - b).abs() / largest);
    let apart = apart.fold(0.0f32, |most, apart| if apart > most || apart.is_nan() { apart } else { most });
    if apart.is_nan() || apart > TOLERANCE {
        return Some(format!("scores differ by {apart:.1e} of the largest"));
    }
    let queries = expected.chunks(images).zip(found.chunks(images));
    let query = queries.map(|(a, b)| first(a) == first(b)).position(|same| !same)?;
    Some(format!("the first {FIRST} images of query {query} are others"))
}

/// Number of images, and the scores.
fn scores(file: &[u8]) -> (usize, Vec<f32>) {
    let header = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    let text = String::from_utf8_lossy(&file[..header]);
    let shape = text.split_once("'shape': (").unwrap().1.split(')').next().unwrap();
    let images = shape.rsplit(", ").find(|side| !side.is_empty()).unwrap().parse().unwrap();
    (images, file[header..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn first(scores: &[f32]) -> Vec<usize> {
    let mut images: Vec<usize> = (0..scores.len()).collect();
    images.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    images.truncate(FIRST);
    images
}
