//! Rows of an activation times a large matrix, block by block.
//!
//! A large matrix that is packed as a whole goes to memory and comes back from there for every tile of rows. Here a task takes some
//! rows and some columns, and packs one *block* of the matrix at a time, which stays in the nearest caches. All rows of the task are
//! multiplied with it, tile by tile. Their sums lie in the output from block to block, which rounds nothing: each output
//! is the same chain of multiply-adds, in the order tap, then depth, as in [`multiply_rows`](crate::product::multiply_rows). After each
//! block a sum of -0 becomes 0, which changes no later sum but the sign of a zero, and that has one sign in the end.
//!
//! On 2 cores of an Intel Xeon (AVX-512), before, when groups of whole columns were packed, and with blocks, in ms: 256 rows by 1,280
//! by 10,240 columns 26.2 and 19.8, its gradient of the input 27.4 and 20.3; 256 by 5,120 by 1,280 13.6 and 10.4; 1,024 by 640 by 5,120
//! 21.8 and 18.4; 3x3 kernels of 1,280 to 1,280 channels on 8x8 pixels 29.1 and 21.8, on 4x4 pixels 13.5 and 7.5.
//!
//! Blocks were multiplied in tiles of 14 rows by 32 columns then, by four tasks of each thread. With the tiles and tasks that are here now,
//! both measured in turn while other programs used the cores, processor time of each of two threads in ms, in the same order: 22.2 and 21.5,
//! gradient 22.2 and 21.4; 11.3 and 10.4; 20.4 and 19.2; 25.3 and 22.6, 7.9 and 7.6; besides 1,024 by 2,560 by 640 10.0 and 9.4; 4,096 by 320
//! by 2,560 21.4 and 20.3.
//!
//! Packing 5,120 by 1,280 takes about 1.5 ms, and these did not lower it or cost more than they gave: to ask for the next block, the next tile or
//! the next rows of a panel during a multiplication; to multiply the first tile while its block is packed, or all tiles without packing;
//! and to copy the rows of a tile side by side, so that their lines do not meet in the first-level cache.

#![allow(unsafe_code, reason = "the inner loops work on raw pointers; sizes are checked at the entry")]
#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of vectors go through memory; indices stay in registers"
)]

use crate::dense::panel_place;
use crate::lanes::{Instructions, LANES, Lanes};
use crate::memory::with_scratch;
use crate::packing::{Depths, PANEL_COLUMNS, Unpacked};
use crate::product::{PADDING, Product, SharedOutput, ZEROS, add_products_of_depth};
use rayon::prelude::*;
use std::ops::Range;

/// Most rows of the matrix in a block, and most panels of its columns: 800 KiB. Of 640 by 10, 320 by 20, 512 by 16 and 1,024 by 8, the first
/// was the fastest at nearly all of the shapes above, by 2 to 8 %.
const DEPTH: usize = 640;
const GROUP_PANELS: usize = 10;

/// Most rows of a tile, and most vectors of its columns: 24 sums in 32 registers.
///
/// Rows that lie a multiple of 4 KiB apart share twelve places in a first-level cache, in which the lines of 14 rows do not stay. Tiles of
/// 14 rows by two vectors, as in `multiply_rows`, took 5 to 10 % longer at the shapes above; 9 rows by three vectors 1 to 4 %, and 7 to
/// 9 % for 3x3 kernels on 8x8 pixels, where a tile of 8 is a row of the image, all of which has a tap in the padding or none.
const TILE_ROWS: usize = 8;
const TILE_VECTORS: usize = 3;

/// Whether a matrix is so large that it is better multiplied block by block than packed as a whole.
pub(crate) fn pays(matrix: &Unpacked<'_>) -> bool {
    /// Bytes of a matrix that stays in a second-level cache while all rows pass.
    const SMALL: usize = 1 << 20;
    /// Fewer rows of a tap make blocks so flat that their sums are loaded and stored for nearly nothing: patches of 14x14 pixels of 3
    /// channels to 1,024 took six times as long.
    const LEAST_DEPTH: usize = 128;
    let Unpacked { taps, depth, columns, .. } = *matrix;
    depth >= LEAST_DEPTH && taps * depth * columns * size_of::<f32>() > SMALL
}

/// Part of a product: some rows, counted through all images, and some columns.
struct Task<'a> {
    instructions: Instructions,
    product: &'a Product<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
    output: SharedOutput,
    input_image: usize,
    output_image: usize,
}

/// `output[target(r)] = addends + sum over taps and depth of input[tap(r) + k] * matrix[tap][k]` for all rows of all images.
///
/// Tasks write disjoint places: rows of a table do not overlap, and tasks cut rows and columns.
pub(crate) fn multiply(instructions: Instructions, product: &Product<'_>, output: &mut [f32]) {
    let Product { images, input, table, matrix, addends } = *product;
    let rows = images * table.len();
    if rows == 0 {
        return;
    }
    let (input_image, output_image) = (input.len() / images, output.len() / images);
    table.check(matrix.taps, matrix.depth, matrix.columns, input_image, output_image);
    assert!(addends.residual.is_none_or(|values| values.len() == output.len()), "length of a residual");
    let output = SharedOutput::new(output);
    let panels = matrix.columns.div_ceil(PANEL_COLUMNS);
    let tasks = tasks_of_a_thread(rows, matrix) * rayon::current_num_threads();
    let [column_parts, row_parts] = parts(rows, panels, tasks);
    let columns_of = |part: usize| {
        let [first, last] = [part, part + 1].map(|part| part * panels / column_parts * PANEL_COLUMNS);
        first..last.min(matrix.columns)
    };
    (0..column_parts * row_parts).into_par_iter().for_each(|task| {
        let (column_part, row_part) = (task / row_parts, task % row_parts);
        let task = Task {
            instructions,
            product,
            rows: row_part * rows / row_parts..(row_part + 1) * rows / row_parts,
            columns: columns_of(column_part),
            output,
            input_image,
            output_image,
        };
        let most = DEPTH * GROUP_PANELS * PANEL_COLUMNS;
        with_scratch(most, |packed| run(&task, packed));
    });
}

/// Tasks of a product for each thread: so few that most have columns for whole blocks. With 4 tasks instead of 2, 256 rows by 5,120 by 1,280,
/// 1,024 by 2,560 by 640 and 3x3 kernels of 1,280 to 1,280 channels on 8x8 pixels took 4 to 6 % longer, and other shapes as long.
///
/// Few rows of a matrix whose columns lie in one piece each are the exception: such a matrix takes more room in the second-level cache while it
/// is packed, and little time is left for anything else. At 16 rows, 2 tasks took 18 % longer than 4 for the gradient of the input of
/// 1,280 by 10,240; for that of 1,280 by 1,280 they took 16 % longer at 16 rows, 5 % at 64, and as long at 96.
fn tasks_of_a_thread(rows: usize, matrix: &Unpacked<'_>) -> usize {
    const FEW_ROWS: usize = 96;
    if rows < FEW_ROWS && matrix.strides.column != 1 { 4 } else { 2 }
}

/// Into how many parts columns and rows are cut: into so many tasks, or as many as can be. Each group of columns reads all rows, and each
/// part of the rows packs all columns, which costs about twice as much for a number.
fn parts(rows: usize, panels: usize, tasks: usize) -> [usize; 2] {
    const LEAST_ROWS: usize = 64;
    let cost = |&[columns, rows_cut]: &[usize; 2]| {
        let groups = columns * panels.div_ceil(columns).div_ceil(GROUP_PANELS);
        rows * groups + 2 * panels * PANEL_COLUMNS * rows_cut
    };
    let ways = (1..=panels.min(tasks))
        .map(|columns| [columns, (tasks / columns).clamp(1, (rows / LEAST_ROWS).max(1))]);
    let most = |way: &[usize; 2]| std::cmp::Reverse(way[0] * way[1]);
    ways.min_by_key(|way| (most(way), cost(way))).unwrap_or([1, 1])
}

/// Part of the matrix that is packed at once.
struct Block {
    depths: Depths,
    columns: Range<usize>,
    /// Whether it is the first and the last one of its columns.
    ends: [bool; 2],
}

/// The blocks of some columns: some of them with all their depths, and then the next.
fn blocks(matrix: &Unpacked<'_>, columns: Range<usize>) -> impl Iterator<Item = Block> {
    let Unpacked { taps, depth, .. } = *matrix;
    let panels = columns.len().div_ceil(PANEL_COLUMNS);
    let groups = panels.div_ceil(GROUP_PANELS);
    let blocks_of_tap = depth.div_ceil(DEPTH).max(1);
    let blocks = taps * blocks_of_tap;
    (0..groups * blocks).map(move |place| {
        let (group, block) = (place / blocks, place % blocks);
        let [first, last] =
            [group, group + 1].map(|group| columns.start + group * panels / groups * PANEL_COLUMNS);
        let (tap, part) = (block / blocks_of_tap, block % blocks_of_tap);
        let [begin, end] = [part, part + 1].map(|part| part * depth / blocks_of_tap);
        Block {
            depths: Depths { tap, first: begin, count: end - begin },
            columns: first..last.min(columns.end),
            ends: [block == 0, block + 1 == blocks],
        }
    })
}

/// Multiplies a task, with room for a packed block.
fn run(task: &Task<'_>, packed: &mut [f32]) {
    let (instructions, matrix) = (task.instructions, task.product.matrix);
    // Tiles of nearly equal size: 49 rows are seven times 7, not six times 8 and 1.
    let tiles = task.rows.len().div_ceil(instructions.tile_rows().min(TILE_ROWS));
    for Block { depths, columns, ends } in blocks(matrix, task.columns.clone()) {
        let length = depths.count * columns.len().next_multiple_of(LANES);
        matrix.pack_block(instructions, depths, columns.clone(), &mut packed[..length]);
        for tile in 0..tiles {
            let [first, last] = [tile, tile + 1].map(|tile| tile * task.rows.len() / tiles);
            let tile = Tile::new(task, task.rows.start + first, last - first);
            let values = tile.values(task, depths);
            if values.is_some() || ends != [false; 2] {
                multiply_tile(task, &columns, &tile, values, depths, packed, ends);
            }
        }
    }
}

/// Some rows, at most [`TILE_ROWS`].
struct Tile {
    rows: usize,
    /// Image of each, its row in that image, and where it begins in the output.
    images: [usize; TILE_ROWS],
    rows_of_image: [usize; TILE_ROWS],
    targets: [usize; TILE_ROWS],
}

impl Tile {
    #[inline(always)]
    fn new(task: &Task<'_>, first: usize, rows: usize) -> Self {
        let table = task.product.table;
        let (mut image, mut row) = (first / table.len(), first % table.len());
        let [mut images, mut rows_of_image, mut targets] = [[0; TILE_ROWS]; 3];
        for place in 0..rows {
            images[place] = image;
            rows_of_image[place] = row;
            targets[place] = image * task.output_image + table.target(row);
            row += 1;
            if row == table.len() {
                (image, row) = (image + 1, 0);
            }
        }
        Self { rows, images, rows_of_image, targets }
    }

    /// Where the values of a tap of each row lie, or nothing if all of them lie in the padding.
    fn values(&self, task: &Task<'_>, depths: Depths) -> Option<[*const f32; TILE_ROWS]> {
        let Product { table, input, .. } = *task.product;
        let place = |row: usize| match table.tap(self.rows_of_image[row], depths.tap) {
            PADDING => None,
            offset => Some(self.images[row] * task.input_image + offset as usize + depths.first),
        };
        let mut values = [ZEROS.as_ptr(); TILE_ROWS];
        let mut any = false;
        for (row, value) in values.iter_mut().enumerate().take(self.rows) {
            if let Some(first) = place(row) {
                any = true;
                *value = input[first..][..depths.count].as_ptr();
            }
        }
        any.then_some(values)
    }
}

/// Adds the products of one tile with one packed block to the sums of its rows. At the first block the sums begin with what is
/// added to each channel, at the last one the residual is added.
fn multiply_tile(
    task: &Task<'_>,
    columns: &Range<usize>,
    tile: &Tile,
    values: Option<[*const f32; TILE_ROWS]>,
    depths: Depths,
    packed: &[f32],
    [at_start, at_end]: [bool; 2],
) {
    let Product { matrix, addends, .. } = *task.product;
    let output = task.output.pointer();
    let all = columns.len().div_ceil(LANES);
    // Sums of columns that end within a vector.
    let mut partial = [[0.0f32; TILE_VECTORS * LANES]; TILE_ROWS];
    let mut first_vector = 0;
    while first_vector < all {
        let vectors = next_vectors(first_vector, all);
        let column = columns.start + first_vector * LANES;
        let width = vectors * LANES;
        let present = width.min(columns.end - column);
        let mut places = [Place { begin: std::ptr::null(), end: std::ptr::null_mut() }; TILE_ROWS];
        for (row, place) in places.iter_mut().enumerate().take(tile.rows) {
            // SAFETY: rows and columns lie in the output, as `RowTable::check` asserts.
            let end = unsafe { output.add(tile.targets[row] + column) };
            let begin = if at_start {
                addends.of_image(tile.images[row], matrix.columns)[column..].as_ptr()
            } else {
                end.cast_const()
            };
            *place = Place { begin, end };
            if present < width {
                // SAFETY: so many values are there.
                unsafe { std::ptr::copy_nonoverlapping(begin, partial[row].as_mut_ptr(), present) };
                let sums = partial[row].as_mut_ptr();
                *place = Place { begin: sums, end: sums };
            }
        }
        let panel_of = |vector: usize| panel_place(vector * LANES, depths.count, all * LANES);
        let (_, step) = panel_of(first_vector);
        let right =
            std::array::from_fn(|index| packed[panel_of(first_vector + index.min(vectors - 1)).0..].as_ptr());
        let count = if values.is_some() { depths.count } else { 0 };
        let values = values.unwrap_or([ZEROS.as_ptr(); TILE_ROWS]);
        on!(task.instructions, add_products(tile.rows, vectors, count, &values, &right, step, &places));
        for row in 0..tile.rows {
            let first = tile.targets[row] + column;
            if present < width {
                // SAFETY: as above.
                unsafe { std::ptr::copy_nonoverlapping(partial[row].as_ptr(), output.add(first), present) };
            }
            if let (true, Some(residual)) = (at_end, addends.residual) {
                // SAFETY: the row lies in the output, and no other task writes it.
                let sums = unsafe { std::slice::from_raw_parts_mut(output.add(first), present) };
                for (sum, value) in sums.iter_mut().zip(&residual[first..]) {
                    *sum += value;
                }
            }
        }
        first_vector += vectors;
    }
}

/// How many vectors a tile takes behind `first`, of so many in all: three, or two so that none is left alone. A last panel of one vector is
/// taken by itself, as its rows lie closer together than those of other panels.
fn next_vectors(first: usize, all: usize) -> usize {
    match all / 2 * 2 - first {
        0 => 1,
        2 | 4 => 2,
        _ => TILE_VECTORS,
    }
}

/// Where the sums of a row begin, and where they go.
#[derive(Clone, Copy)]
struct Place {
    begin: *const f32,
    end: *mut f32,
}

wrap! {
    add_products(
        rows: usize,
        vectors: usize,
        count: usize,
        left: &[*const f32; TILE_ROWS],
        right: &[*const f32; TILE_VECTORS],
        step: usize,
        places: &[Place; TILE_ROWS],
    );
}

/// Adds the product of `rows` rows of `count` values, found at `left`, and of some vectors of columns, found at `right` and then every `step`
/// values, to sums.
///
/// # Safety
///
/// The processor has the instructions of `V`; rows and columns have so many values, and each place has those of all vectors.
#[inline(always)]
unsafe fn add_products<V: Lanes>(
    rows: usize,
    vectors: usize,
    count: usize,
    left: &[*const f32; TILE_ROWS],
    right: &[*const f32; TILE_VECTORS],
    step: usize,
    places: &[Place; TILE_ROWS],
) {
    // SAFETY: passed on from the caller.
    unsafe {
        macro_rules! tile_of {
            ($($rows:literal)*) => {
                match rows {
                    $($rows if $rows <= V::TILE_ROWS => match vectors {
                        3 if V::WIDE => tile_sums::<V, 3, $rows>(count, left, right, step, places, 0),
                        2 if V::WIDE => {
                            tile_sums::<V, 2, $rows>(count, left, &[right[0], right[1]], step, places, 0);
                        }
                        _ => {
                            for index in 0..vectors {
                                let first = index * LANES;
                                tile_sums::<V, 1, $rows>(count, left, &[right[index]], step, places, first);
                            }
                        }
                    })*
                    _ => unreachable!("a tile has at most as many rows as the vectors allow"),
                }
            };
        }
        tile_of!(1 2 3 4 5 6 7 8);
    }
}

/// Some vectors of columns of [`add_products`], which go to the places from `first_column` on.
///
/// # Safety
///
/// As [`add_products`].
#[inline(always)]
unsafe fn tile_sums<V: Lanes, const VECTORS: usize, const ROWS: usize>(
    count: usize,
    left: &[*const f32; TILE_ROWS],
    right: &[*const f32; VECTORS],
    step: usize,
    places: &[Place; TILE_ROWS],
    first_column: usize,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let mut sums = [[V::zero(); VECTORS]; ROWS];
        for row in 0..ROWS {
            for index in 0..VECTORS {
                sums[row][index] = V::load(places[row].begin.add(first_column + index * LANES));
            }
        }
        let rows: [*const f32; ROWS] = std::array::from_fn(|row| left[row]);
        add_depths(&mut sums, &rows, count, right, step);
        for row in 0..ROWS {
            for index in 0..VECTORS {
                // Which taps are skipped depends on the tile, so zeros get one sign: `-0 + 0` is `0`.
                let sum = sums[row][index].add(V::zero());
                sum.store(places[row].end.add(first_column + index * LANES));
            }
        }
    }
}

/// The innermost loop: adds `count` values of each row times as many of each vector, `step` apart, to sums in registers.
///
/// # Safety
///
/// As [`add_products`].
#[inline(always)]
unsafe fn add_depths<V: Lanes, const VECTORS: usize, const ROWS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    rows: &[*const f32; ROWS],
    count: usize,
    right: &[*const f32; VECTORS],
    step: usize,
) {
    /// Depths in one round of the loop: an instruction that counts may take the place of a multiply-add. 1 took 4 to 8 % longer at the
    /// shapes above, 8 took 2 to 4 %.
    const ROUND: usize = 4;
    let whole = count / ROUND * ROUND;
    // SAFETY: passed on from the caller; each `k` is less than `count`.
    unsafe {
        for first in (0..whole).step_by(ROUND) {
            for k in first..first + ROUND {
                add_products_of_depth(sums, rows, k, &vectors_at(right, k * step));
            }
        }
        for k in whole..count {
            add_products_of_depth(sums, rows, k, &vectors_at(right, k * step));
        }
    }
}

/// The vector that lies so many values behind each place.
///
/// # Safety
///
/// It is readable, and the processor has the instructions of `V`.
#[inline(always)]
unsafe fn vectors_at<V: Lanes, const VECTORS: usize>(
    places: &[*const f32; VECTORS],
    offset: usize,
) -> [V; VECTORS] {
    // SAFETY: passed on from the caller.
    unsafe {
        let mut vectors = [V::zero(); VECTORS];
        for index in 0..VECTORS {
            vectors[index] = V::load(places[index].add(offset));
        }
        vectors
    }
}

const _: () = assert!(TILE_ROWS == 8 && TILE_VECTORS == 3, "the tile sizes above are listed by hand");
