use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

const COMPRESSED: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn compress(codec: Codec, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::new().compress(codec, None, input, &mut out).unwrap();
    out
}

fn decompress(codec: Codec, input: &[u8], cap: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Decompressor::new().decompress(codec, input, cap, &mut out)?;
    Ok(out)
}

/// Text with repetition near and far, and a stretch that does not compress.
fn text(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..len).map(|at| if at % 5000 > 4000 { noise() } else { b"order=17;state=shipped;"[at % 23] }).collect()
}

#[test]
fn reads_what_it_wrote_at_every_size_around_a_block() {
    let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
    let (mut packed, mut out) = (Vec::new(), Vec::new());
    for codec in Codec::ALL {
        for len in [0, 1, 100, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 400_000] {
            let input = text(len);
            packed.clear();
            packed.extend_from_slice(b"kept");
            compressor.compress(codec, None, &input, &mut packed).unwrap();
            assert!(packed.starts_with(b"kept"));
            decompressor.decompress(codec, &packed[4..], len, &mut out).unwrap();
            assert!(out == input, "{codec}, {len} bytes");
            if len > 0 {
                let error = decompressor.decompress(codec, &packed[4..], len - 1, &mut out).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Refused, "{codec}, {len} bytes: {error}");
                assert!(out.is_empty());
            }
        }
    }
}

#[test]
fn a_bomb_takes_no_more_memory_than_the_cap() {
    let zeros = vec![0; 64 << 20];
    for codec in COMPRESSED {
        let bomb = compress(codec, &zeros);
        for cap in [0, 1, 1000, 1 << 20] {
            let mut out = Vec::new();
            let error = Decompressor::new().decompress(codec, &bomb, cap, &mut out).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{codec} at {cap}: {error}");
            assert!(error.to_string().contains(&cap.to_string()), "{error}");
            assert!(out.capacity() <= cap + (4 << 10), "{codec} at {cap} reserved {}", out.capacity());
        }
    }
}

#[test]
fn a_lying_length_reserves_nothing() {
    // Snappy's preamble claims 4 GiB - 1 over a few bytes.
    let mut out = Vec::new();
    let lie = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x00, 0x61];
    Decompressor::new().decompress(Codec::Snappy, &lie, usize::MAX, &mut out).unwrap_err();
    assert_eq!(out.capacity(), 0);
    // A zstd frame that declares 2^60 bytes and holds one raw byte.
    let mut lie = vec![0x28, 0xB5, 0x2F, 0xFD, 0xE0];
    lie.extend_from_slice(&(1u64 << 60).to_le_bytes());
    lie.extend_from_slice(&[0x09, 0, 0, 0x61]);
    let error = Decompressor::new().decompress(Codec::Zstd, &lie, usize::MAX, &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(out.capacity() < 1 << 10);
}

#[test]
fn every_cut_is_noticed() {
    let input = text(3000);
    for codec in COMPRESSED {
        let packed = compress(codec, &input);
        for cut in 1..packed.len() {
            // Xerial's framing has no end mark: a cut between blocks cannot be seen here, but by the record count.
            let between_blocks = codec == Codec::Snappy && cut == 16;
            let result = decompress(codec, &packed[..cut], 1 << 20);
            assert!(result.is_err() || between_blocks, "{codec} cut at {cut} of {}", packed.len());
        }
    }
}

#[test]
fn snappy_is_read_raw_and_from_concatenated_streams() {
    let input = text(100_000);
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert!(decompress(Codec::Snappy, &raw, 100_000).unwrap() == input);
    let framed = compress(Codec::Snappy, &input);
    let twice = [framed.clone(), framed].concat();
    assert!(decompress(Codec::Snappy, &twice, 200_000).unwrap() == [input.clone(), input].concat());
}

#[test]
fn snappy_is_written_as_xerial_frames_it() {
    let framed = compress(Codec::Snappy, b"hello");
    assert_eq!(framed, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07\x05\x10hello");
}

#[test]
fn lz4_is_read_in_every_frame_form() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let input = text(700_000);
    for block_mode in [BlockMode::Independent, BlockMode::Linked] {
        for block_size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            for (checks, size) in [(false, None), (true, Some(700_000)), (true, Some(1))] {
                let info = FrameInfo::new()
                    .block_mode(block_mode)
                    .block_size(block_size)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(size);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&input).unwrap();
                let Ok(frame) = encoder.finish() else {
                    // The encoder itself refuses a wrong content size.
                    assert_eq!(size, Some(1));
                    continue;
                };
                let two = [&frame[..], &[0x50, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 9, 9], &frame].concat();
                let out = decompress(Codec::Lz4, &two, 1_400_000).unwrap();
                assert!(out == [&input[..], &input].concat(), "{block_mode:?} {block_size:?} {checks}");
                if checks {
                    for at in [5, 40, frame.len() - 1] {
                        let mut damaged = frame.clone();
                        damaged[at] ^= 1;
                        decompress(Codec::Lz4, &damaged, 1_400_000).unwrap_err();
                    }
                }
            }
        }
    }
}

#[test]
fn lz4_is_written_in_a_frame_that_another_reader_takes() {
    use std::io::Read;
    for len in [0, 10, 65_536, 300_000] {
        let input = text(len);
        let frame = compress(Codec::Lz4, &input);
        let mut out = Vec::new();
        lz4_flex::frame::FrameDecoder::new(&frame[..]).read_to_end(&mut out).unwrap();
        assert!(out == input);
    }
}

#[test]
fn lz4_header_checksums_of_old_clients_pass_only_for_old_messages() {
    let mut frame = compress(Codec::Lz4, b"a message of magic 0");
    frame[6] ^= 0xFF;
    let mut out = Vec::new();
    Decompressor::new().decompress(Codec::Lz4, &frame, 100, &mut out).unwrap_err();
    Decompressor::new().decompress_legacy(Codec::Lz4, &frame, 100, &mut out).unwrap();
    assert_eq!(out, b"a message of magic 0");
}

#[test]
fn zstd_is_read_streamed_in_several_frames_and_with_a_large_window() {
    use std::io::Write;
    let input = text(3_000_000);
    let mut frames = Vec::new();
    for (level, window) in [(1, 0), (19, 27), (3, 0)] {
        // Streamed: no content size in the frame, as Java's producers write.
        let mut encoder = ::zstd::Encoder::new(Vec::new(), level).unwrap();
        encoder.include_checksum(true).unwrap();
        if window > 0 {
            encoder.window_log(window).unwrap();
        }
        for part in input.chunks(1_000_000) {
            encoder.write_all(part).unwrap();
            encoder.flush().unwrap();
        }
        frames.extend_from_slice(&encoder.finish().unwrap());
        frames.extend_from_slice(&[0x5F, 0x2A, 0x4D, 0x18, 1, 0, 0, 0, 9]);
    }
    assert!(decompress(Codec::Zstd, &frames, 9_000_000).unwrap() == input.repeat(3));
    let error = decompress(Codec::Zstd, &frames, 8_999_999).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

#[test]
fn gzip_is_read_with_every_header_field_and_in_members() {
    use std::io::Write;
    let input = text(200_000);
    let builder = || flate2::GzBuilder::new().extra(vec![1, 2, 3]).filename("name").comment("comment");
    let mut packed = Vec::new();
    for _ in 0..2 {
        let mut encoder = builder().write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&input).unwrap();
        packed.extend_from_slice(&encoder.finish().unwrap());
    }
    assert!(decompress(Codec::Gzip, &packed, 400_000).unwrap() == input.repeat(2));
    decompress(Codec::Gzip, &packed, 399_999).unwrap_err();
    let at = packed.len() - 1;
    packed[at] ^= 1;
    decompress(Codec::Gzip, &packed, 400_000).unwrap_err();
}

#[test]
fn gzip_is_written_so_that_another_reader_takes_it() {
    use std::io::Read;
    let input = text(200_000);
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(&compress(Codec::Gzip, &input)[..]).read_to_end(&mut out).unwrap();
    assert!(out == input);
}

#[test]
fn levels_are_checked_and_change_the_output() {
    let input = text(200_000);
    let mut compressor = Compressor::new();
    for (codec, low, high) in [(Codec::Gzip, 1, 9), (Codec::Zstd, -5, 19)] {
        let (mut fast, mut small, mut again) = (Vec::new(), Vec::new(), Vec::new());
        compressor.compress(codec, Some(low), &input, &mut fast).unwrap();
        compressor.compress(codec, Some(high), &input, &mut small).unwrap();
        compressor.compress(codec, Some(low), &input, &mut again).unwrap();
        assert!(small.len() < fast.len() && fast == again, "{codec}");
        assert!(decompress(codec, &small, 200_000).unwrap() == input);
    }
    for (codec, level) in
        [(Codec::Gzip, 0), (Codec::Gzip, 10), (Codec::Zstd, 23), (Codec::Lz4, 1), (Codec::None, 1)]
    {
        let error = compressor.compress(codec, Some(level), &input, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn names_and_numbers_agree_with_kafka() {
    for (number, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let codec = Codec::from_number(number as u8).unwrap();
        assert_eq!((codec as usize, codec.name(), name.parse::<Codec>().unwrap()), (number, name, codec));
    }
    assert!(Codec::from_number(5).unwrap_err().to_string().contains('5'));
    assert!("brotli".parse::<Codec>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reads_what_it_wrote(input in proptest::collection::vec(any::<u8>(), 0..100_000), repeat in 1usize..4) {
        let input = input.repeat(repeat);
        for codec in Codec::ALL {
            prop_assert!(decompress(codec, &compress(codec, &input), input.len()).unwrap() == input);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(input: Vec<u8>, cap in 0usize..5000) {
        for codec in Codec::ALL {
            let _ = decompress(codec, &input, cap).map(|out| assert!(out.len() <= cap));
        }
    }

    #[test]
    fn damage_never_panics(len in 0usize..20_000, at: prop::sample::Index, byte: u8) {
        let input = text(len);
        for codec in COMPRESSED {
            let mut packed = compress(codec, &input);
            let at = at.index(packed.len());
            packed[at] = byte;
            let _ = decompress(codec, &packed, 30_000).map(|out| assert!(out.len() <= 30_000));
        }
    }
}
