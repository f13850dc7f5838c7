//! Events as a pcapng file (draft-ietf-opsawg-pcapng).

use std::{
    borrow::Cow,
    collections::HashMap,
    error::Error,
    io::{self, Write},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use filter_common::abi::EVENT_HEAD;
use pcap_file::{
    DataLink,
    pcapng::{
        PcapNgBlock as _, PcapNgWriter,
        blocks::{
            block_common::Block,
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            opt_common::CommonOption,
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

use crate::{countries, events::Event};

/// A file that is being written; after each frame it is whole.
pub struct Capture<W: Write> {
    writer: PcapNgWriter<Counted<W>>,
    /// The number of each interface in the file.
    interfaces: HashMap<String, u32>,
    frames: u64,
}

impl<W: Write> Capture<W> {
    /// Writes the beginning of the file.
    pub fn begin(out: W) -> io::Result<Self> {
        let program = format!("cerco {}", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            options: vec![SectionHeaderOption::UserApplication(program.into())],
            ..SectionHeaderBlock::default()
        };
        let out = Counted {
            out: io::BufWriter::new(out),
            bytes: 0,
        };
        let mut capture = Self {
            writer: PcapNgWriter::with_section_header(out, section).map_err(into_io)?,
            interfaces: HashMap::new(),
            frames: 0,
        };
        capture.writer.get_mut().flush()?;
        Ok(capture)
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// At most so many bytes the file would have with `event` in it.
    pub fn bytes_with(&self, event: &Event) -> u64 {
        /// Both blocks without names, comment and frame, and with all padding.
        const FIXED: usize = 128;
        let more = FIXED + event.interface.len() + comment(event).len() + EVENT_HEAD;
        self.writer.get_ref().bytes + more as u64
    }

    /// Adds the frame of an event, and its interface when it is the first of it.
    pub fn add(&mut self, event: &Event) -> io::Result<()> {
        let interface_id = match self.interfaces.get(&event.interface) {
            Some(id) => *id,
            None => self.add_interface(&event.interface)?,
        };
        let head = event.head.as_deref().unwrap_or_default();
        let head = STANDARD.decode(head).map_err(io::Error::other)?;
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_micros(event.unix_us),
            original_len: event.frame_bytes.max(head.len() as u32),
            data: Cow::Owned(head),
            options: vec![EnhancedPacketOption::Common(CommonOption::Comment(
                comment(event).into(),
            ))],
        };
        self.write(&block.into_block())?;
        self.frames += 1;
        Ok(())
    }

    fn add_interface(&mut self, name: &str) -> io::Result<u32> {
        let id = self.interfaces.len() as u32;
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: EVENT_HEAD as u32,
            options: vec![InterfaceDescriptionOption::IfName(name.to_owned().into())],
        };
        self.write(&block.into_block())?;
        self.interfaces.insert(name.to_owned(), id);
        Ok(id)
    }

    fn write(&mut self, block: &Block<'_>) -> io::Result<()> {
        self.writer.write_block(block).map_err(into_io)?;
        self.writer.get_mut().flush()
    }
}

/// `country_denied, US (United States), dropped; stands for 250 frames`.
fn comment(event: &Event) -> String {
    let mut text = event.reason.clone();
    if let Some(class) = &event.class {
        text += &format!(", {class}");
        let code = filter_common::country::CountryCode::parse(class);
        if let Some(name) = code.and_then(countries::name) {
            text += &format!(" ({name})");
        }
    }
    text += match event.verdict.as_str() {
        "would_drop" => ", would be dropped",
        _ => ", dropped",
    };
    if event.stands_for > 1 {
        text += &format!("; stands for {} frames", event.stands_for);
    }
    text
}

/// The error of the file below, when it is one.
fn into_io(error: impl Error + Send + Sync + 'static) -> io::Error {
    match error.source().and_then(|it| it.downcast_ref::<io::Error>()) {
        Some(below) => io::Error::new(below.kind(), below.to_string()),
        None => io::Error::other(error),
    }
}

/// Counts what is written.
struct Counted<W: Write> {
    out: io::BufWriter<W>,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::PcapNgReader;

    use super::*;

    fn event(interface: &str, head: &[u8]) -> Event {
        Event {
            unix_us: 1_800_000_000_123_456,
            interface: interface.to_owned(),
            verdict: "drop".to_owned(),
            reason: "country_denied".to_owned(),
            class: Some("US".to_owned()),
            packet: None,
            frame_bytes: 1_514,
            stands_for: 250,
            cpu: 0,
            head: Some(STANDARD.encode(head)),
        }
    }

    /// The blocks of a file, by what matters in them.
    fn read(file: &[u8]) -> Vec<String> {
        let mut reader = PcapNgReader::new(file).unwrap();
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block() {
            blocks.push(match block.unwrap().0 {
                Block::InterfaceDescription(block) => format!("{:?}", block.options),
                Block::EnhancedPacket(block) => format!(
                    "{} {:?} {} of {} {:?}",
                    block.interface_id,
                    block.timestamp,
                    block.data.len(),
                    block.original_len,
                    block.options
                ),
                other => format!("{other:?}"),
            });
        }
        blocks
    }

    #[test]
    fn frames_come_back_with_time_length_interface_and_comment() {
        let mut file = Vec::new();
        let mut capture = Capture::begin(&mut file).unwrap();
        let would_drop = Event {
            verdict: "would_drop".to_owned(),
            class: Some("unknown".to_owned()),
            reason: "unknown_denied".to_owned(),
            stands_for: 1,
            cpu: 0,
            frame_bytes: 60,
            ..event("eth1", &[2; 60])
        };
        for event in [
            event("eth0", &[1; 192]),
            would_drop,
            event("eth0", &[3; 191]),
        ] {
            capture.add(&event).unwrap();
        }
        assert_eq!(capture.frames(), 3);
        drop(capture);
        let packet = |text: &str| text.to_owned();
        assert_eq!(
            read(&file),
            [
                packet("[IfName(\"eth0\")]"),
                packet(
                    "0 1800000000.123456s 192 of 1514 [Common(Comment(\"country_denied, US \
                     (United States), dropped; stands for 250 frames\"))]"
                ),
                packet("[IfName(\"eth1\")]"),
                packet(
                    "1 1800000000.123456s 60 of 60 [Common(Comment(\"unknown_denied, unknown, would \
                     be dropped\"))]"
                ),
                packet(
                    "0 1800000000.123456s 191 of 1514 [Common(Comment(\"country_denied, US \
                     (United States), dropped; stands for 250 frames\"))]"
                ),
            ]
        );
    }

    #[test]
    fn size_is_never_more_than_was_said() {
        let mut file = Vec::new();
        let mut capture = Capture::begin(&mut file).unwrap();
        for length in 0..=192 {
            let event = event(&format!("interface{length}"), &vec![0; length]);
            let said = capture.bytes_with(&event);
            capture.add(&event).unwrap();
            let is = capture.writer.get_ref().bytes;
            assert!(is <= said && said < is + 400, "{said} {is}");
        }
    }

    #[test]
    fn error_of_the_file_keeps_its_kind() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = Capture::begin(Full).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
