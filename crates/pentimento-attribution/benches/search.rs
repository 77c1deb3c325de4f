//! How fast a code file is searched: `cargo bench -p pentimento-attribution --bench search -- [CODES] [FOLDER]`.
//!
//! Writes a file of random codes (n = 32, h = 16, four bytes each; 10^8 unless told) to the folder, which is that for
//! temporary files unless told, searches it from the page cache, prints what it measured as JSON, and removes it. Each
//! search opens the file anew, as the program does, so its time contains building the page table.

#![expect(clippy::print_stdout, reason = "a bench prints its measurements")]

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use pentimento_attribution::ensemble::{CodeBook, CodeFile, CodeFileError, QuadraticForm};
use pentimento_noise::{Purpose, Stream};
use rayon::prelude::*;

const MEMBERS: u32 = 32;
const WEIGHT: u32 = 16;
const TOP: usize = 100;
const REPETITIONS: usize = 7;
const QUERIES: [usize; 3] = [1, 4, 16];
const HEADER: usize = 128;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let count: usize = arguments.next().map_or(Ok(100_000_000), |text| text.parse())?;
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder)?;
    let path = folder.path().join("codes.npy");
    write_codes(&path, count)?;

    let forms: Vec<QuadraticForm> = (0..16).map(random_form).collect::<Result<_>>()?;
    let same: QuadraticForm = {
        let order = MEMBERS as usize;
        let gram: Vec<f64> =
            (0..order * order).map(|at| f64::from(u8::from(at % (order + 1) == 0))).collect();
        QuadraticForm::linear(&CodeBook::draw(MEMBERS, WEIGHT, 1, 0)?, &gram)?
    };
    let mut seconds = vec![Vec::new(); QUERIES.len()];
    let (mut reading, mut reading_again) = (Vec::new(), Vec::new());
    // One round more than is kept: it warms the cache.
    for round in 0..=REPETITIONS {
        let keep = |times: &mut Vec<Seconds>, seconds: Seconds| {
            if round > 0 {
                times.push(seconds);
            }
        };
        for (times, queries) in seconds.iter_mut().zip(QUERIES) {
            keep(times, timed(|| search(&path, &forms[..queries]))?);
        }
        let mut map = None;
        let seconds = timed(|| {
            black_box(map.insert(Map::open(&path)?).sum());
            Ok(())
        })?;
        keep(&mut reading, seconds);
        let Some(map) = map else { continue };
        keep(
            &mut reading_again,
            timed(|| {
                black_box(map.sum());
                Ok(())
            })?,
        );
    }
    let memory = memory_beyond_the_map(std::fs::metadata(&path)?.len())?;
    // All distances are equal, so every code is measured; a tenth of the file is enough.
    let all_pass = {
        let short = folder.path().join("short.npy");
        write_codes(&short, count / 10)?;
        timed(|| search(&short, std::slice::from_ref(&same)))?
    };

    let giga = count as f64 * 1e-9;
    let threads = rayon::current_num_threads() as f64;
    let figure = |times: &[Seconds]| {
        let spread = |of: &dyn Fn(&Seconds) -> f64| {
            let mut sorted: Vec<f64> = times.iter().map(of).collect();
            sorted.sort_by(f64::total_cmp);
            let [median, least, most] = [sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1]];
            serde_json::json!({
                "median_seconds": median,
                "least_seconds": least,
                "most_seconds": most,
                "median_seconds_per_billion_codes": median / giga,
                "median_gigabytes_per_second": 4.0 * giga / median,
            })
        };
        serde_json::json!({
            "clock": spread(&|times| times.clock),
            "processor_time_by_threads": spread(&|times| times.processors / threads),
        })
    };
    let searches: serde_json::Map<String, serde_json::Value> = QUERIES
        .iter()
        .zip(&seconds)
        .map(|(queries, times)| (format!("{queries} queries"), figure(times)))
        .collect();
    let report = serde_json::json!({
        "codes": count,
        "members": MEMBERS,
        "weight": WEIGHT,
        "bytes_per_code": 4,
        "top": TOP,
        "threads": rayon::current_num_threads(),
        "processor": processor(),
        "search": searches,
        "reading_the_file_through_a_new_map": figure(&reading),
        "reading_the_same_map_again": figure(&reading_again),
        "all_distances_equal_a_tenth_of_the_codes": { "clock_seconds": all_pass.clock, "processor_time_by_threads": all_pass.processors / threads },
        "peak_bytes_beyond_the_map": memory,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Seconds on the clock, and of all processors together, in steps of a hundredth. Where other programs run too, only the
/// second number says how fast this is.
#[derive(Clone, Copy)]
struct Seconds {
    clock: f64,
    processors: f64,
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<Seconds> {
    let (start, processors) = (Instant::now(), processor_seconds()?);
    run()?;
    Ok(Seconds { clock: start.elapsed().as_secs_f64(), processors: processor_seconds()? - processors })
}

/// User and system time of this process, from Linux.
fn processor_seconds() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program, in parentheses, may have blanks.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn search(path: &Path, forms: &[QuadraticForm]) -> Result<()> {
    let found = CodeFile::open(path)?.most_influential::<CodeFileError>(forms, TOP, |_| Ok(()))?;
    black_box(found);
    Ok(())
}

/// Uniform codes by rejection, a stream for each chunk, and eight rotations of each, which are uniform too: drawing a
/// billion would take longer than all searches.
fn write_codes(path: &Path, count: usize) -> Result<()> {
    const CHUNK: usize = 1 << 18;
    const CHUNKS_AT_ONCE: usize = 16;
    let mut file = BufWriter::new(File::create(path)?);
    let mut text = format!("{{'descr': '<u4', 'fortran_order': False, 'shape': ({count},), }}");
    text.extend(std::iter::repeat_n(' ', HEADER - 11 - text.len()));
    text.push('\n');
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(text.len() as u16).to_le_bytes())?;
    file.write_all(text.as_bytes())?;
    let chunks: Vec<usize> = (0..count.div_ceil(CHUNK)).collect();
    for together in chunks.chunks(CHUNKS_AT_ONCE) {
        let made: Vec<Vec<u8>> = together
            .par_iter()
            .map(|&chunk| {
                let mut cursor = Stream::new(1, Purpose::Test, chunk as u32, 0).cursor();
                let mut bytes = Vec::with_capacity(4 * CHUNK);
                let wanted = 4 * (count - chunk * CHUNK).min(CHUNK);
                while bytes.len() < wanted {
                    let word = cursor.next_u64();
                    for code in [word as u32, (word >> 32) as u32] {
                        if code.count_ones() == WEIGHT {
                            bytes.extend((0..8).flat_map(|turn| code.rotate_left(4 * turn).to_le_bytes()));
                        }
                    }
                }
                bytes.truncate(wanted);
                bytes
            })
            .collect();
        made.iter().try_for_each(|bytes| file.write_all(bytes))?;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

/// Of second order, from the Gram matrix of 64 images of 784 normally distributed pixels.
fn random_form(seed: u64) -> Result<QuadraticForm> {
    let order = 2 * MEMBERS as usize;
    let mut images = vec![0.0; order * 784];
    Stream::new(seed, Purpose::Test, 0, 1).fill_normal_f64(&mut images);
    let images: Vec<&[f64]> = images.chunks_exact(784).collect();
    let dot = |left: &[f64], right: &[f64]| left.iter().zip(right).map(|(l, r)| l * r).sum::<f64>();
    let gram: Vec<f64> = (0..order * order).map(|at| dot(images[at / order], images[at % order])).collect();
    Ok(QuadraticForm::second_order(&CodeBook::draw(MEMBERS, WEIGHT, 1, 0)?, &gram)?)
}

/// The file's bytes, read by all threads in the order of the file: what memory gives at most.
struct Map(memmap2::Mmap);

impl Map {
    #[expect(unsafe_code, reason = "the same map as a search has, to compare with")]
    fn open(path: &Path) -> Result<Self> {
        // SAFETY: the file is in a folder of this process alone.
        Ok(Self(unsafe { memmap2::Mmap::map(&File::open(path)?)? }))
    }

    fn sum(&self) -> u64 {
        let part = |bytes: &[u8]| {
            let words = bytes.as_chunks::<8>().0.iter();
            words.fold(0, |sum: u64, &word| sum ^ u64::from_le_bytes(word))
        };
        self.0[HEADER..].par_chunks(1 << 20).map(part).reduce(|| 0, |a, b| a ^ b)
    }
}

/// The most memory that this process had at once (VmHWM) beyond the mapped file; the program itself is in it.
fn memory_beyond_the_map(mapped: u64) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let peak = 1024 * line.trim_matches([' ', '\t', 'k', 'B']).parse::<u64>()?;
    Ok(peak.saturating_sub(mapped))
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    name.trim_matches([' ', '\t', ':']).to_string()
}
