//! Pure content addressing: codecs, chunking, UnixFS, paths.
