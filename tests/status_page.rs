//! The status page in a real browser: it is drawn, on a phone and in the dark, with its policy in force.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    fs,
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
};

use common::{Bench, free_port, real_part, table};
use flate2::read::ZlibDecoder;

const CHROMIUM: &str = "chromium";
/// A telephone of the smaller kind, and a screen.
const PHONE: (usize, usize) = (390, 1600);
const SCREEN: (usize, usize) = (1280, 1600);
/// Blink's names for what the person prefers.
const DARK: &str = "0";
const LIGHT: &str = "1";

/// What a browser has drawn: eight bits for red, green and blue of each pixel.
struct Picture {
    width: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    fn brightness(&self) -> u64 {
        let sum: u64 = self.pixels.iter().flatten().map(|part| u64::from(*part)).sum();
        sum / (self.pixels.len() as u64 * 3)
    }

    fn count(&self, colour: [u8; 3]) -> usize {
        self.pixels.iter().filter(|pixel| **pixel == colour).count()
    }

    /// The columns that show something else than the paper.
    fn used_columns(&self) -> std::ops::RangeInclusive<usize> {
        let paper = self.pixels[0];
        let used = self.pixels.iter().enumerate().filter(|(_, pixel)| **pixel != paper);
        let columns: Vec<usize> = used.map(|(at, _)| at % self.width).collect();
        *columns.iter().min().unwrap()..=*columns.iter().max().unwrap()
    }
}

fn shot(bench: &Bench, url: &str, (width, height): (usize, usize), scheme: &str) -> Picture {
    let file = bench.home.path().join(format!("page-{width}-{scheme}.png"));
    let status = Command::new(CHROMIUM)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", bench.home.path().join("browser").display()))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--screenshot={}", file.display()))
        .arg(url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "chromium ended with {status}");
    if let Some(folder) = std::env::var_os("MAILCHUTE_SCREENSHOTS") {
        // For a person who wants to see it.
        fs::copy(&file, PathBuf::from(folder).join(file.file_name().unwrap())).unwrap();
    }
    decode(&fs::read(&file).unwrap())
}

/// A PNG as Chromium writes it: eight bits, no interlace, with or without an alpha channel.
fn decode(png: &[u8]) -> Picture {
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
    let (width, height) = (number(16), number(20));
    let channels = match (png[24], png[25], png[28]) {
        (8, 2, 0) => 3,
        (8, 6, 0) => 4,
        other => panic!("an unknown kind of PNG: {other:?}"),
    };
    let (mut at, mut packed) = (8, Vec::new());
    while at < png.len() {
        let length = number(at);
        if &png[at + 4..at + 8] == b"IDAT" {
            packed.extend_from_slice(&png[at + 8..at + 8 + length]);
        }
        at += 12 + length;
    }
    let mut raw = Vec::new();
    ZlibDecoder::new(packed.as_slice()).read_to_end(&mut raw).unwrap();
    let stride = width * channels;
    let mut above = vec![0; stride];
    let mut pixels = Vec::with_capacity(width * height);
    for line in raw.chunks_exact(stride + 1) {
        let mut row = line[1..].to_vec();
        for at in 0..stride {
            let left = if at < channels { 0 } else { row[at - channels] };
            let corner = if at < channels { 0 } else { above[at - channels] };
            let guess = match line[0] {
                0 => 0,
                1 => left,
                2 => above[at],
                3 => u8::midpoint(left, above[at]),
                _ => paeth(left, above[at], corner),
            };
            row[at] = row[at].wrapping_add(guess);
        }
        pixels.extend(row.chunks_exact(channels).map(|pixel| [pixel[0], pixel[1], pixel[2]]));
        above = row;
    }
    Picture { width, pixels }
}

fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let (a, b, c) = (i16::from(left), i16::from(above), i16::from(corner));
    let (from_a, from_b, from_c) = ((b - c).abs(), (a - c).abs(), (a + b - 2 * c).abs());
    if from_a <= from_b && from_a <= from_c {
        left
    } else if from_b <= from_c {
        above
    } else {
        corner
    }
}

#[test]
fn it_is_drawn_by_day_and_by_night_on_a_screen_and_on_a_phone() {
    if !real_part(CHROMIUM, "--version") {
        return;
    }
    let mut bench = Bench::new();
    let listen = format!("127.0.0.1:{}", free_port());
    bench.configure("metrics", &format!("listen = \"{listen}\""));
    bench.drop_file("a-file-with-a-rather-long-name-that-does-not-fit-on-a-phone.csv", table(0, 30));
    bench.run_once(0);
    bench.command(&[
        "pause",
        "a reason of several words, so that the sentence has to break somewhere on a phone",
    ]);
    bench.drop_file("b.csv", table(100, 12));
    bench.start();
    bench.wait_until("rows wait", |bench| bench.status()["outbox"]["queued"] == 12);
    let url = format!("http://{listen}/");
    // The colours of style.css for `waiting`, by day and by night: that they are there shows that the style was let in.
    for (size, scheme, bright, colour) in [
        (SCREEN, LIGHT, true, [0x9a, 0x67, 0x00]),
        (SCREEN, DARK, false, [0xe5, 0xb4, 0x54]),
        (PHONE, LIGHT, true, [0x9a, 0x67, 0x00]),
        (PHONE, DARK, false, [0xe5, 0xb4, 0x54]),
    ] {
        let picture = shot(&bench, &url, size, scheme);
        assert_eq!(picture.brightness() > 128, bright, "{size:?} {scheme}");
        assert!(picture.count(colour) > 100, "{size:?} {scheme}: the health is not shown in its colour");
        let used = picture.used_columns();
        let margins = (*used.start(), picture.width - 1 - *used.end());
        assert!(
            margins.0.abs_diff(margins.1) <= 2 && margins.0 >= 8,
            "{size:?}: it is cut or off its middle: {margins:?}"
        );
    }
    bench.stop();
}
