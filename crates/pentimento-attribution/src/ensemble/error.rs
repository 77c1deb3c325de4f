use std::fmt;

use super::codes::MAX_MEMBERS;

/// What went wrong with a code book, an ablation or a search.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EnsembleError {
    /// The number of members is not one a code can have.
    #[error(
        "members n = {members}: must be 2 to {MAX_MEMBERS}, as a code is stored in 64 bits and an ablation must leave a member"
    )]
    MembersOutOfRange {
        /// The number of members asked for.
        members: u32,
    },

    /// The code weight leaves no member with or no member without a group.
    #[error(
        "code weight h = {weight}: must be 1 to {} with n = {members} members; \
         with h = 0 no member trains on a group, with h = n none is left when a group is removed",
        members.saturating_sub(1)
    )]
    WeightOutOfRange {
        /// The weight asked for.
        weight: u32,
        /// The number of members.
        members: u32,
    },

    /// A code book has no group at all.
    #[error("groups: 0 given, at least 1 is needed")]
    NoGroups,

    /// More groups than a group number (`u32`) can name, or than memory holds.
    #[error("groups: the codes of {groups} groups do not fit into memory or into 32-bit group numbers")]
    TooManyGroups {
        /// The number of groups asked for.
        groups: u64,
    },

    /// Fewer codes than groups.
    #[error("groups: {groups} groups need as many codes, but C({members}, {weight}) = {codes}; {would_do}")]
    TooFewCodes {
        /// The number of groups.
        groups: u64,
        /// The number of members n.
        members: u32,
        /// The code weight h.
        weight: u32,
        /// C(n, h).
        codes: u64,
        /// Which numbers of members would do.
        would_do: MembersThatWouldDo,
    },

    /// Walsh codes cannot be made for this many groups.
    #[error(
        "groups: Walsh codes are for 3 to {} groups, got {groups}; \
         with 2, one of the three members would train on nothing",
        MAX_MEMBERS - 1
    )]
    WalshGroupsOutOfRange {
        /// The number of groups asked for.
        groups: u32,
    },

    /// A code has bits that belong to no member.
    #[error("code {group} is {bits:#x}: it has bits above the {members} members")]
    BitsAboveMembers {
        /// The group whose code it is.
        group: u32,
        /// The code.
        bits: u64,
        /// The number of members.
        members: u32,
    },

    /// A code has another weight than the first one.
    #[error("code {group} has weight {weight}, but code 0 has weight {expected}: all must be equal")]
    UnequalWeights {
        /// The group whose code it is.
        group: u32,
        /// Its weight.
        weight: u32,
        /// The weight of code 0.
        expected: u32,
    },

    /// Two groups have the same code, so that one cannot be removed without the other.
    #[error("codes {first} and {second} are equal: each group needs its own")]
    DuplicateCode {
        /// The group that has the code first.
        first: u32,
        /// The group that has it again.
        second: u32,
    },

    /// A group number that the code book does not have.
    #[error("{field}: group {group} does not exist, there are {groups} groups (0 to {})", groups.saturating_sub(1))]
    NoSuchGroup {
        /// Where the number stood.
        field: String,
        /// The number.
        group: u32,
        /// The number of groups.
        groups: u32,
    },

    /// A member number that the code book does not have.
    #[error("member {member} does not exist, there are {members} members (0 to {})", members.saturating_sub(1))]
    NoSuchMember {
        /// The number.
        member: u32,
        /// The number of members.
        members: u32,
    },

    /// More images than an image number (`u32`) can name.
    #[error("images: {images} do not fit into 32-bit image numbers")]
    TooManyImages {
        /// The number of images.
        images: u64,
    },

    /// Every member saw one of the groups that are to be removed.
    #[error(
        "removing {removed} groups leaves none of the {members} members; leave {} in (group {}) and a member remains",
        keep.len(),
        Shortened(keep)
    )]
    NoMemberRemains {
        /// How many different groups were to be removed.
        removed: usize,
        /// The number of members.
        members: u32,
        /// The fewest groups that have to stay in for a member to remain.
        keep: Vec<u32>,
    },

    /// A Gram matrix whose size does not fit the ensemble.
    #[error("Gram matrix: {actual} values given, but {order} x {order} = {} are needed", order * order)]
    GramSize {
        /// How many values it has.
        actual: usize,
        /// How many rows and columns it should have.
        order: usize,
    },

    /// A Gram matrix with a value that is not a number or infinite.
    #[error("Gram matrix: the value in row {row}, column {column} is {value}, not a finite number")]
    GramNotFinite {
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The value.
        value: f64,
    },

    /// A code book searched with the form of another ensemble.
    #[error(
        "the quadratic form is for n = {form_members}, h = {form_weight}, \
         but the code book has n = {members}, h = {weight}"
    )]
    FormOfAnotherEnsemble {
        /// n of the form.
        form_members: u32,
        /// h of the form.
        form_weight: u32,
        /// n of the code book.
        members: u32,
        /// h of the code book.
        weight: u32,
    },

    /// A ranking that names an image more than once.
    #[error("ranking of sample {sample}: image {image} occurs more than once")]
    ImageRankedTwice {
        /// The sample whose ranking it is.
        sample: usize,
        /// The image.
        image: u32,
    },

    /// A quadratic form that the kernels do not take.
    #[error(transparent)]
    Form(#[from] pentimento_kernels::ShapeError),

    /// A code table that is not a one-dimensional `.npy` array of little-endian u64.
    #[error("code table: {0}")]
    CodeTable(String),
}

/// The smallest ensembles whose codes suffice for a number of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembersThatWouldDo {
    /// The smallest n of all: C(n, ⌊n/2⌋) is the largest number of codes of length n. `None` if even n = 64 is too small.
    pub with_half_weight: Option<u32>,
    /// The smallest n with the weight that was asked for. `None` if there is none up to 64.
    pub with_same_weight: Option<u32>,
}

impl fmt::Display for MembersThatWouldDo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.with_half_weight {
            Some(members) => {
                write!(f, "the smallest n that would do is {members}, with h = {}", members / 2)?
            }
            None => return write!(f, "no n up to {MAX_MEMBERS} would do"),
        }
        match self.with_same_weight {
            Some(members) => write!(f, "; keeping h, n = {members}"),
            None => write!(f, "; keeping h, no n up to {MAX_MEMBERS} would do"),
        }
    }
}

/// A list of numbers for a message: the first few, then how many more.
struct Shortened<'a>(&'a [u32]);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        for (position, number) in self.0.iter().take(SHOWN).enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{number}")?;
        }
        match self.0.len().checked_sub(SHOWN) {
            Some(more) if more > 0 => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}
