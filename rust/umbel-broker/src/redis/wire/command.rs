//! Commands as bytes, and several of them as one write.

use std::fmt::Display;
use std::io::Write;
use std::ops::Range;

/// One command under construction.
#[derive(Debug, Clone, Default)]
pub struct Command {
    args: Vec<u8>,
    count: usize,
}

impl Command {
    /// A command called `name`.
    pub fn new(name: &str) -> Self {
        Self::default().arg(name)
    }

    /// The same with one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.push(arg);
        self
    }

    /// The same with more arguments.
    #[must_use]
    pub fn args<A: AsRef<[u8]>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().for_each(|arg| self.push(arg));
        self
    }

    /// The same with a number as one more argument.
    #[must_use]
    pub fn number(self, number: impl Display) -> Self {
        self.arg(number.to_string())
    }

    /// Adds an argument.
    pub fn push(&mut self, arg: impl AsRef<[u8]>) {
        let arg = arg.as_ref();
        self.count += 1;
        write_header(&mut self.args, b'$', arg.len());
        self.args.extend_from_slice(arg);
        self.args.extend_from_slice(b"\r\n");
    }

    /// The same followed by the arguments of `other`.
    #[must_use]
    pub fn append(mut self, other: &Self) -> Self {
        self.count += other.count;
        self.args.extend_from_slice(&other.args);
        self
    }

    /// Size so far in bytes, for callers that bound it.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// True without any argument.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        write_header(out, b'*', self.count);
        out.extend_from_slice(&self.args);
    }
}

/// Commands sent together; their replies come in the same order.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pipeline {
    /// A pipeline of one command.
    pub fn of(command: &Command) -> Self {
        let mut pipeline = Self::default();
        pipeline.add(command);
        pipeline
    }

    /// Adds a command.
    pub fn add(&mut self, command: &Command) {
        command.write_to(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Adds the commands of another pipeline.
    pub fn extend(&mut self, other: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| start + end));
    }

    /// Number of commands.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True without commands.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Everything, ready to be written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The commands at `indexes` alone.
    pub(super) fn select(&self, indexes: &[usize]) -> Self {
        let mut chosen = Self::default();
        for &index in indexes {
            chosen.bytes.extend_from_slice(&self.bytes[self.range(index)]);
            chosen.ends.push(chosen.bytes.len());
        }
        chosen
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..self.ends[index]
    }
}

fn write_header(out: &mut Vec<u8>, kind: u8, number: usize) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{}{number}\r\n", char::from(kind));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let pipeline = Pipeline::of(&Command::new("SET").arg(b"k\r\n").number(12));
        assert_eq!(pipeline.bytes(), b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$2\r\n12\r\n");
    }

    #[test]
    fn single_commands_are_cut_out_of_a_pipeline() {
        let mut pipeline = Pipeline::default();
        ["A", "BB", "CCC"].iter().for_each(|name| pipeline.add(&Command::new(name)));
        assert_eq!(pipeline.select(&[0, 2]).bytes(), b"*1\r\n$1\r\nA\r\n*1\r\n$3\r\nCCC\r\n");
        assert_eq!(pipeline.select(&[1]).len(), 1);
    }
}
