//! The name, size and layout of one parameter.

/// What a parameter is, which decides its layout on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// `[kernel, kernel, input, output]` in memory, `[output, input, kernel, kernel]` on disk.
    Convolution,
    /// `[1, 1, input, output]` in memory, `[output, input]` on disk.
    Linear,
    /// `[channels]` in both.
    Vector,
    /// `[1, 1, classes, channels]` in memory, `[classes, channels]` on disk.
    Embedding,
}

/// Name and size of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// The name in diffusers.
    pub name: String,
    /// What its values are, and so how they are laid out.
    pub kind: ParameterKind,
    /// Sizes on disk, as diffusers has them.
    pub disk_shape: Vec<usize>,
    /// How a fresh network starts.
    pub(crate) start: Start,
}

impl ParameterSpec {
    /// A parameter of another network than this crate's U-Net.
    pub fn new(name: String, kind: ParameterKind, disk_shape: Vec<usize>) -> Self {
        Self { name, kind, disk_shape, start: Start::Uniform }
    }

    /// Number of its values.
    pub fn len(&self) -> usize {
        self.disk_shape.iter().product()
    }

    /// Whether the parameter has no value; never for a validated configuration.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is the bias of a layer with this weight, or the shift of a norm with this scale.
    pub fn is_added_by(&self, weight: &Self) -> bool {
        let (own, other) = (self.name.strip_suffix(".bias"), weight.name.strip_suffix(".weight"));
        self.kind == ParameterKind::Vector && own.is_some() && own == other
    }

    /// Sizes in memory.
    pub fn memory_shape(&self) -> Vec<usize> {
        match (self.kind, self.disk_shape.as_slice()) {
            (ParameterKind::Convolution, &[output, input, height, width]) => {
                vec![height, width, input, output]
            }
            (ParameterKind::Linear, &[output, input]) => vec![1, 1, input, output],
            (ParameterKind::Embedding, &[classes, channels]) => vec![1, 1, classes, channels],
            (_, shape) => shape.to_vec(),
        }
    }
}

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Uniform within `1 / sqrt(inputs of an output)`.
    Uniform,
    /// Normal with standard deviation (not variance) `1 / outputs`, where the outputs are the rank of an adapter.
    Normal,
    Zero,
    One,
}
