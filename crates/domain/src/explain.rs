//! What went wrong with an attempt, in words.
