//! Weights of the members that do not follow from a code; those that do are
//! [`CodeBook::weights_without`](super::CodeBook::weights_without).

/// Every member at 1/n.
pub fn full_weights(members: usize) -> Vec<f64> {
    vec![1.0 / members as f64; members]
}

/// All members but one, equally.
pub fn leave_out(members: usize, removed: usize) -> Vec<f64> {
    (0..members).map(|member| if member == removed { 0.0 } else { 1.0 / (members - 1) as f64 }).collect()
}

/// One member alone.
pub fn only(members: usize, member: usize) -> Vec<f64> {
    (0..members).map(|index| f64::from(u8::from(index == member))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_speaks_equally_and_the_others_not_at_all() {
        assert_eq!(full_weights(4), [0.25; 4]);
        assert_eq!(leave_out(5, 3), [0.25, 0.25, 0.25, 0.0, 0.25]);
        assert_eq!(only(3, 1), [0.0, 1.0, 0.0]);
        for members in 2..9 {
            for member in 0..members {
                for weights in [leave_out(members, member), only(members, member)] {
                    // Members of equal weight: as many roundings as there are.
                    assert!((weights.iter().sum::<f64>() - 1.0).abs() < members as f64 * f64::EPSILON);
                }
            }
        }
    }
}
