//! Random damage to the bytes of a file, for the tests of every crate that reads files of other people.

/// Numbers that look like random ones and are the same each time.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Self(20_261_122)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ value >> 31) % bound.max(1) as u64) as usize
    }
}

/// Flips, overwrites, cuts, removes or repeats some of the bytes.
pub fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        let place = random.below(length);
        match random.below(7) {
            0 | 1 => bytes[place] ^= 1 << random.below(8),
            2 => bytes[place] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => bytes.truncate(place),
            4 => {
                let end = place + random.below(16).min(length - place);
                bytes.drain(place..end);
            }
            5 => {
                let end = place + random.below(32).min(length - place);
                let part = bytes[place..end].to_vec();
                let to = random.below(length);
                bytes.splice(to..to, part);
            }
            _ => {
                for byte in bytes.iter_mut().skip(place).take(4) {
                    *byte = 0xff;
                }
            }
        }
    }
}
