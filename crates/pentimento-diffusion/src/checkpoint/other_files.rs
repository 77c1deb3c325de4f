//! Files of other people's networks that are none that can be opened: what each is, and what can be done.

use std::path::Path;

/// What a kind of file is called, what it is, and what can be done.
struct OtherFile {
    /// Whole names, and how names end; all in small letters.
    names: &'static [&'static str],
    endings: &'static [&'static str],
    what_it_is: &'static str,
    what_to_do: &'static str,
}

/// Every kind that is known by its name, the surer ones first.
const OTHER_FILES: [OtherFile; 6] = [
    OtherFile {
        names: &["adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"],
        endings: &[],
        what_it_is: "an adapter of PEFT (LoRA and the like), which is a change to a network and no network by itself",
        what_to_do: "name the folder of the network that it was trained on, and this as its adapter; or in Python, \
                     `PeftModel.from_pretrained(network, FOLDER).merge_and_unload().save_pretrained(MERGED)` puts it \
                     into the network that it was trained on",
    },
    OtherFile {
        names: &["pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin"],
        endings: &["_lora.safetensors", "-lora.safetensors", "_lora_weights.safetensors"],
        what_it_is: "weights of LoRA, which are a change to a network and no network by themselves",
        what_to_do: "name the folder of the network that they were trained on, and them as its adapter; or in Python, \
                     diffusers puts them into its pipeline (`load_lora_weights`, `fuse_lora`, `save_pretrained`)",
    },
    OtherFile {
        names: &[],
        endings: &[".onnx", ".onnx_data"],
        what_it_is: "a network that was exported to ONNX, which can be run and not differentiated",
        what_to_do: "take the folder that it was exported from",
    },
    OtherFile {
        names: &[],
        endings: &[".ckpt"],
        what_it_is: "a checkpoint of other training code (PyTorch Lightning, CompVis), and a pickle, which can run code and is \
                     not opened",
        what_to_do: "diffusers has scripts for many of them (`scripts/convert_*_to_diffusers.py` of its repository); they \
                     write a folder that can be named here if the network is a `UNet2DModel`",
    },
    OtherFile {
        names: &[],
        endings: &[".safetensors"],
        what_it_is: "weights under a name that does not say of which network they are",
        what_to_do: "they open as `diffusion_pytorch_model.safetensors`, with the `config.json` of their `UNet2DModel` and the \
                     `scheduler_config.json` of its noise schedule beside them",
    },
    OtherFile {
        names: &[],
        endings: &[".pt", ".pth", ".pkl", ".bin"],
        what_it_is: "a pickle of PyTorch, which can run code and is not opened",
        what_to_do: "in Python, load it into the `UNet2DModel` that it was trained as and write that with `save_pretrained`",
    },
];

impl OtherFile {
    fn describe(&self) -> String {
        format!("{}; {}", self.what_it_is, self.what_to_do)
    }
}

/// The row of a file in the table, by its name; none if nothing is known of such names.
fn row_of(file: &Path) -> Option<usize> {
    let name = file.file_name()?.to_str()?.to_lowercase();
    OTHER_FILES.iter().position(|other| {
        other.names.contains(&name.as_str()) || other.endings.iter().any(|ending| name.ends_with(ending))
    })
}

/// What a file is, and what can be done; none if nothing is known of such names.
pub(super) fn described(file: &Path) -> Option<String> {
    OTHER_FILES.get(row_of(file)?).map(OtherFile::describe)
}

/// The file of a folder that says most of what the folder is, and what that file is; none if nothing is known of any.
pub(super) fn telling_file(folder: &Path) -> Option<String> {
    let files = folder.read_dir().ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    // Of several of a kind the first by name, so that it is the same one each time.
    let (row, file) = files.filter_map(|file| Some((row_of(&file)?, file))).min()?;
    let name = file.file_name()?.to_str()?;
    Some(format!("it holds `{name}`: {}", OTHER_FILES.get(row)?.describe()))
}
