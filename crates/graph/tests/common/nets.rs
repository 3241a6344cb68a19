//! Networks in miniature.
