//! Files of images as bytes, in the forms of public sets.

/// A file in the form of MNIST's: unsigned bytes with these sizes of the axes.
pub fn idx(magic: u32, dimensions: &[usize], data: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend(dimensions.iter().flat_map(|&dimension| (dimension as u32).to_be_bytes()));
    bytes.extend_from_slice(data);
    bytes
}

/// A file as `numpy.save` writes an array of unsigned bytes.
pub fn npy(dimensions: &[usize], data: &[u8]) -> Vec<u8> {
    let sizes: Vec<String> = dimensions.iter().map(ToString::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    let shape = sizes.join(", ") + comma;
    let mut header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({shape}), }}");
    // Magic, version, the header's length, the header and its line end fill blocks of 64.
    while !(11 + header.len()).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}
