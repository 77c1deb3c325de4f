//! The runs of the net: recipes and commands, as small as keeps each path real.

/// What a run is about, and the commands that make it; `RUN` stands for its folder, `PIPELINES` for that of the small latent
/// pipelines.
pub struct Plan {
    pub name: &'static str,
    pub recipe: Option<&'static str>,
    pub commands: &'static [&'static str],
}

/// The only run that is made with narrower instructions too, where a multiplication is up to thirty times slower.
pub const WITH_ALL_INSTRUCTIONS: &str = "small";

/// Networks of all recipes: wide enough for Winograd's kernels, with attention and with convolutions that change the size.
pub const NETWORK: &str = r#"
block_out_channels = [16, 32]
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
"#;

pub const PLANS: [Plan; 7] = [
    Plan {
        name: "classes",
        recipe: Some(
            r#"
name = "classes"
seed = 7
[data]
images = "images"
labels = "labels"
[codes]
kind = "walsh"
groups = "class"
[model]
NETWORK
[training]
steps = 6
batch = 24
learning_rate = 1e-3
warmup_steps = 2
ema_decay = 0.9
[sampling]
steps = 4
[samples]
count = 3
in_report = 2
[attribution]
fidelity_samples = 2
top = 3
"#,
        ),
        commands: &[
            "run classes.toml --run RUN",
            "attribute RUN --method jacobian,second-order",
            "ablate RUN --sample 1 --groups 0",
        ],
    },
    Plan {
        name: "codes",
        recipe: Some(
            r#"
name = "codes"
seed = 8
[data]
path = "colours.npy"
[data.preprocessing]
first = 20
resize = { height = 8, width = 8 }
[codes]
kind = "drawn"
members = 6
weight = 3
[model]
NETWORK
resnet_time_scale_shift = "scale_shift"
[schedule]
beta_schedule = "squaredcos_cap_v2"
prediction_type = "v_prediction"
[training]
steps = 3
batch = 8
learning_rate = 1e-3
decay = "cosine"
[sampling]
steps = 3
sampler = "ddim"
spacing = "leading"
[samples]
count = 2
in_report = 1
[attribution]
counterfactuals = 4
fidelity_samples = 1
candidates = 6
exact = 2
top = 4
"#,
        ),
        commands: &["run codes.toml --run RUN"],
    },
    Plan {
        name: "imported",
        recipe: None,
        commands: &[
            "export classes imported-checkpoint --member 2",
            "import imported-checkpoint --run RUN --set samples.count=2 --set sampling.steps=4 --set data.path=grey.npy \
             --set data.preprocessing.first=40 --set gradients.timesteps=2 --set gradients.groups=2 \
             --set gradients.dimension=256 --set influence.draws=16 --set influence.images=40",
            "attribute RUN --method das,trak,influence,pixel-cosine,patches",
            "attribute RUN --method das --query 3,17",
        ],
    },
    Plan {
        name: "prompts",
        recipe: None,
        commands: &[
            "import PIPELINES/sd_linear --run RUN --set samples.count=2 --set samples.prompts=[\"cat\",\"dog\"] --set sampling.steps=3 \
             --set data.path=captioned --set gradients.timesteps=2 --set gradients.groups=2 --set gradients.dimension=256 \
             --set influence.draws=2",
            "attribute RUN --method das,tracin,influence",
            "attribute RUN --method das --query 1,3",
        ],
    },
    Plan {
        name: "adapter",
        recipe: None,
        commands: &[
            "import PIPELINES/sd_conv --lora PIPELINES/lora/kohya_whole --run RUN --set samples.count=1 --set samples.prompts=[\"cat\"] \
             --set sampling.steps=2 --set data.path=captioned --set gradients.timesteps=2 --set gradients.groups=2 \
             --set gradients.dimension=256 --set influence.draws=2",
            "attribute RUN --method das,tracin,influence",
        ],
    },
    Plan {
        name: "checkpoints",
        recipe: Some(
            r#"
name = "checkpoints"
seed = 9
[data]
images = "images"
labels = "labels"
[data.preprocessing]
first_per_class = 12
[codes]
kind = "walsh"
groups = "class"
[model]
NETWORK
[training]
steps = 4
batch = 8
learning_rate = 1e-3
replacement = true
horizontal_flip = true
keep_checkpoints = 2
optimiser = { weight_decay = 0.01 }
[sampling]
steps = 3
variance = "fixed_large"
[samples]
count = 2
[gradients]
timesteps = 2
groups = 2
dimension = 256
precision = "f32"
"#,
        ),
        commands: &["train checkpoints.toml --run RUN", "attribute RUN --method tracin"],
    },
    Plan {
        name: "small",
        recipe: Some(
            r#"
name = "small"
seed = 10
[data]
images = "images"
labels = "labels"
[data.preprocessing]
classes = [0, 1]
first_per_class = 3
[codes]
kind = "drawn"
members = 2
weight = 1
groups = "class"
[model]
NETWORK
[training]
steps = 2
batch = 24
learning_rate = 1e-3
replacement = true
[sampling]
steps = 2
[samples]
count = 1
in_report = 1
[attribution]
fidelity_samples = 1
[gradients]
timesteps = 1
groups = 2
dimension = 64
[influence]
draws = 2
"#,
        ),
        commands: &["run small.toml --run RUN", "attribute RUN --method das,tracin,influence,patches"],
    },
];
