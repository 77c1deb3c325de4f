//! Which distance ranks the codes of an ensemble. Its name stands in the table of all methods.

/// How far an image moves without the members that saw a code's group, for every code, by an approximation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeDistance {
    /// By the paper's Jacobian.
    Jacobian,
    /// By the one-member Jacobian with the second-order term: the search's first stage.
    SecondOrder,
}
