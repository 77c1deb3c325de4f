/// Why a classifier cannot be trained, used or read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifierError {
    /// A setting out of bounds.
    #[error("classifier: `{field}` is {value}: {bound}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What would be accepted.
        bound: String,
    },
    /// There are no images.
    #[error("images: none given, at least one is needed")]
    NoImages,
    /// More images than an epoch can put in order.
    #[error("images: {count} given, at most 2^32 - 1 can be used")]
    TooManyImages {
        /// How many.
        count: usize,
    },
    /// Images and labels do not belong together.
    #[error("labels: {labels} given for {images} images")]
    LabelCount {
        /// Number of labels.
        labels: usize,
        /// Number of images.
        images: usize,
    },
    /// A label that is no class.
    #[error("labels: label {index} is {label}, but there are {classes} classes, counted from 0")]
    LabelOutOfRange {
        /// Where it stands, from 0.
        index: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// Values that do not make up whole images.
    #[error("images: {values} values given, not a multiple of the {image_length} of one image")]
    PartialImage {
        /// Number of values.
        values: usize,
        /// Number of values of an image.
        image_length: usize,
    },
    /// An image with a NaN or an infinity.
    #[error("images: value {index} of image {image} is {value}, not a finite number")]
    NotFinite {
        /// The image, from 0.
        image: usize,
        /// The position in the image, from 0.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The loss is no longer a number.
    #[error("training: the loss became {loss} at step {step}; lower the learning rate")]
    Diverged {
        /// The training step, from 0.
        step: usize,
        /// The loss.
        loss: f64,
    },
    /// Bytes that are not a classifier.
    #[error("classifier file: {problem}")]
    File {
        /// What is wrong with them.
        problem: String,
    },
    /// A tensor of a classifier's file that is missing, one too many, or broken.
    #[error("classifier file: tensor `{tensor}`: {problem}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
}
