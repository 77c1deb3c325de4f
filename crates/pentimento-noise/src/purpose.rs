/// What a random value is for.
///
/// The numbers are part of the generator's counter and so of every result: a number is never changed or used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Purpose {
    /// The weights of a network before its first training step.
    WeightInitialisation = 1,
    /// Which training images form a batch, and in which order.
    BatchOrder = 2,
    /// The timestep at which a training image is noised.
    TrainingTimestep = 3,
    /// The noise that is added to a training image, which the network learns to predict.
    TrainingNoise = 4,
    /// Whether a training image is mirrored.
    HorizontalFlip = 5,
    /// The exogenous noise of a sample: its first image and what each sampling step adds.
    SampleNoise = 6,
    /// Which code an image or a group of images gets.
    CodeDraw = 7,
    /// Which images a counterfactual leaves out, where that is drawn at random.
    CounterfactualChoice = 8,
    /// The resamples of a bootstrap interval and the shuffles of a permutation test.
    Bootstrap = 9,
    /// All randomness of the small classifiers that judge samples.
    ClassifierTraining = 10,
    /// Random values of tests and benches, which no result may use.
    Test = 11,
    /// The noise of the draws at which attribution takes gradients, and of the queries of nearest patches.
    AttributionNoise = 12,
    /// The random projection of gradients.
    AttributionProjection = 13,
    /// Scores that know nothing, to hold methods of attribution against.
    RandomScore = 14,
    /// The timesteps at which the curvature of a network is measured.
    CurvatureTimestep = 15,
    /// The noise at these timesteps.
    CurvatureNoise = 16,
    /// The random directions of the output in which it is measured.
    PseudoGradient = 17,
    /// Which images a network of a bank is trained without.
    BankSubset = 18,
    /// Which other images take their places in its batches.
    BankReplacement = 19,
    /// Which of several captions of an image is taken first.
    CaptionChoice = 20,
    /// Which of several captions a training image is shown under.
    TrainingCaption = 21,
    /// Whether a training image is shown under the empty condition instead.
    ConditionDropout = 22,
    /// The noise with which a picture's latent is drawn from what an autoencoder says of it.
    PosteriorNoise = 23,
    /// Where in the schedule the draws of an image begin that do not lie in equal distances.
    TimestepShift = 24,
}
