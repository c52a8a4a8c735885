//! Codes in memory: little-endian dense bits along the last dimension, rows start on bytes.
//!
//! Element j of a row of `bits`-bit codes takes bits `j·bits … (j+1)·bits - 1`, bit b being bit `b % 8` of byte `b / 8`. So u3 codes
//! 5, 6 and 7 are bits 101, 011, 111 from the lowest on: bytes `0b11_110_101`, `0b1`.

/// Bytes of a row of `elems` codes.
pub fn row_bytes(elems: usize, bits: u32) -> usize {
    (elems * bits as usize).div_ceil(8)
}

/// Code `index` of a row; `bits` is 1…64.
///
/// # Panics
/// Where the row is too short.
pub fn read_code(row: &[u8], index: usize, bits: u32) -> u64 {
    let bits = bits as usize;
    let first = index * bits;
    if bits.is_multiple_of(8) {
        let mut word = [0; 8];
        word[..bits / 8].copy_from_slice(&row[first / 8..(first + bits) / 8]);
        return u64::from_le_bytes(word);
    }
    (0..bits).fold(0, |code, k| {
        let at = first + k;
        code | ((row[at / 8] >> (at % 8) & 1) as u64) << k
    })
}

/// Sets code `index` of a row to the low `bits` bits of `code`, leaving its neighbours.
///
/// # Panics
/// Where the row is too short.
pub fn write_code(row: &mut [u8], index: usize, bits: u32, code: u64) {
    let bits = bits as usize;
    let first = index * bits;
    if bits.is_multiple_of(8) {
        row[first / 8..(first + bits) / 8].copy_from_slice(&code.to_le_bytes()[..bits / 8]);
        return;
    }
    for k in 0..bits {
        let at = first + k;
        let bit = (code >> k & 1) as u8;
        row[at / 8] = row[at / 8] & !(1 << (at % 8)) | bit << (at % 8);
    }
}
