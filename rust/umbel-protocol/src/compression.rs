//! Compression codecs by alias or content type.
//!
//! Celery's `gzip` is a zlib stream (RFC 1950) under the name `application/x-gzip`; real gzip is read as well.

use std::io::{Read, Write};

use crate::error::NeedsPython;
use crate::{Limits, Malformed, error::ReadError};

/// A codec Celery knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Aliases `zlib`, `gzip`.
    Zlib,
    /// Aliases `bzip2`, `bzip`.
    Bzip2,
    /// Aliases `zstd`, `zstandard`.
    Zstd,
    /// Aliases `lzma`, `xz`. Python only.
    Lzma,
    /// Alias `brotli`. Python only.
    Brotli,
}

impl Codec {
    /// The codec with an alias or content type.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "zlib" | "gzip" | "application/x-gzip" => Self::Zlib,
            "bzip2" | "bzip" | "application/x-bz2" => Self::Bzip2,
            "zstd" | "zstandard" | "application/zstd" => Self::Zstd,
            "lzma" | "xz" | "application/x-lzma" => Self::Lzma,
            "brotli" | "application/x-brotli" => Self::Brotli,
            _ => return None,
        })
    }

    /// What the `compression` header says.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Zlib => "application/x-gzip",
            Self::Bzip2 => "application/x-bz2",
            Self::Zstd => "application/zstd",
            Self::Lzma => "application/x-lzma",
            Self::Brotli => "application/x-brotli",
        }
    }

    /// Whether this crate compresses and decompresses it.
    pub fn is_native(self) -> bool {
        matches!(self, Self::Zlib | Self::Bzip2 | Self::Zstd)
    }

    /// Compresses `data` at the codec's default level.
    pub fn compress(self, data: &[u8]) -> Result<Vec<u8>, NeedsPython> {
        let compressed = match self {
            Self::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(data).and_then(|()| encoder.finish())
            }
            Self::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
                encoder.write_all(data).and_then(|()| encoder.finish())
            }
            // In one piece, so that the frame states its size: Python's `zstandard` insists on that.
            Self::Zstd => zstd::bulk::compress(data, zstd::DEFAULT_COMPRESSION_LEVEL),
            Self::Lzma | Self::Brotli => return Err(self.needs_python()),
        };
        // Writing to memory fails only if a codec refuses its own settings; then Python may still do it.
        compressed.map_err(|_| self.needs_python())
    }

    /// Undoes it. Output beyond `limits.max_bytes` is malformed (a bomb), as is a stream that ends early.
    pub fn decompress(self, data: &[u8], limits: &Limits) -> Result<Vec<u8>, ReadError> {
        let out = match self {
            Self::Zlib if data.starts_with(&[0x1f, 0x8b]) => {
                self.read_all(flate2::read::MultiGzDecoder::new(data), data, limits)
            }
            Self::Zlib => self.read_all(flate2::read::ZlibDecoder::new(data), data, limits),
            Self::Bzip2 => self.read_all(bzip2::read::MultiBzDecoder::new(data), data, limits),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(data).and_then(|mut decoder| {
                    decoder.window_log_max(WINDOW_LOG)?;
                    Ok(decoder)
                });
                let decoder = decoder.map_err(|error| self.malformed(error.to_string()))?;
                self.read_all(decoder, data, limits)
            }
            Self::Lzma | Self::Brotli => return Err(self.needs_python().into()),
        };
        out.map_err(ReadError::from)
    }

    fn read_all(self, decoder: impl Read, data: &[u8], limits: &Limits) -> Result<Vec<u8>, Malformed> {
        let guess = data.len().saturating_mul(4).min(limits.max_bytes).min(1 << 20);
        let mut out = Vec::with_capacity(guess);
        let limit = u64::try_from(limits.max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        decoder.take(limit).read_to_end(&mut out).map_err(|error| self.malformed(error.to_string()))?;
        if out.len() > limits.max_bytes {
            return Err(self.malformed(format!("unpacks to more than the limit of {} bytes", limits.max_bytes)));
        }
        Ok(out)
    }

    fn malformed(self, detail: String) -> Malformed {
        Malformed::new(format!("data compressed with {}", self.content_type()), detail)
    }

    fn needs_python(self) -> NeedsPython {
        NeedsPython::Compression(self.content_type().to_owned())
    }
}

/// 64 MiB: more than any level below `--ultra` uses.
const WINDOW_LOG: u32 = 26;

/// Undoes the codec a `compression` header names. An unknown name may be one an application registered in Python.
pub fn decompress(name: &str, data: &[u8], limits: &Limits) -> Result<Vec<u8>, ReadError> {
    let codec = Codec::named(name).ok_or_else(|| NeedsPython::Compression(name.to_owned()))?;
    codec.decompress(data, limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATIVE: [Codec; 3] = [Codec::Zlib, Codec::Bzip2, Codec::Zstd];

    #[test]
    fn what_was_compressed_comes_back() {
        let data = b"[[2, 3], {}, {}]".repeat(100);
        for codec in NATIVE {
            let packed = codec.compress(&data).expect("native");
            assert!(packed.len() < data.len());
            assert_eq!(codec.decompress(&packed, &Limits::default()).as_deref(), Ok(data.as_slice()));
        }
    }

    #[test]
    fn celerys_gzip_is_a_zlib_stream() {
        assert_eq!(Codec::Zlib.compress(b"x").expect("native")[..2], [0x78, 0x9c]);
    }

    #[test]
    fn real_gzip_is_read_too() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"abc").expect("memory");
        let packed = encoder.finish().expect("memory");
        assert_eq!(decompress("gzip", &packed, &Limits::default()).as_deref(), Ok(b"abc".as_slice()));
    }

    #[test]
    fn a_bomb_is_malformed() {
        let limits = Limits { max_bytes: 1000, ..Limits::default() };
        for codec in NATIVE {
            assert!(codec.decompress(&codec.compress(&[0; 1000]).expect("native"), &limits).is_ok());
            let error = codec.decompress(&codec.compress(&[0; 1001]).expect("native"), &limits).expect_err("too large");
            assert!(error.to_string().contains("more than the limit of 1000 bytes"), "{error}");
        }
    }

    #[test]
    fn a_stream_that_ends_early_is_malformed() {
        for codec in NATIVE {
            let packed = codec.compress(&b"abcdefgh".repeat(50)).expect("native");
            for end in 0..packed.len() {
                let cut = codec.decompress(&packed[..end], &Limits::default());
                assert!(matches!(cut, Err(ReadError::Malformed(_))), "{codec:?} cut at {end}: {cut:?}");
            }
        }
    }

    #[test]
    fn other_codecs_are_for_python() {
        for name in ["xz", "application/x-brotli", "x-mine"] {
            assert!(matches!(decompress(name, b"", &Limits::default()), Err(ReadError::NeedsPython(_))), "{name}");
        }
    }
}
