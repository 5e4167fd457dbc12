//! Tests of the readers: what each format means, what is refused with which reason, and that no input breaks a reader.

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use md5::{Digest, Md5};
use proptest::prelude::*;

use super::*;
use crate::base::error::Error;
use crate::base::text::hex;
use crate::base::time::Timestamp;

/// The sentence of a refusal, and its errors with their lines.
type Refused = (String, Vec<(Option<u64>, String)>);

/// What was read of a listing.
#[derive(Debug, Default)]
struct Got {
    rows: Vec<Row>,
    rejected: Vec<(u64, String)>,
    /// The errors by line if reading ended with one.
    error: Option<Refused>,
}

impl Got {
    /// The key and the values of each row.
    fn values(&self) -> Vec<(&str, Vec<Option<&str>>)> {
        self.rows
            .iter()
            .map(|row| {
                (
                    row.key.as_str(),
                    row.values.iter().map(Option::as_deref).collect(),
                )
            })
            .collect()
    }

    fn lines(&self) -> Vec<u64> {
        self.rows.iter().map(|row| row.line).collect()
    }

    /// Where the reading ended, and why.
    fn ended(&self) -> (Option<u64>, &str) {
        let (_, errors) = self.error.as_ref().expect("an error");
        (errors[0].0, errors[0].1.as_str())
    }
}

/// Gives its bytes in small parts, as a network does.
struct Parts<'a>(&'a [u8], usize);

impl io::Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.1.min(buffer.len());
        self.0.read(&mut buffer[..most])
    }
}

fn read_in_parts(
    bytes: &[u8],
    part: usize,
    layout: &Layout,
    (key, id): (&str, &str),
    compare: &[Column],
) -> Got {
    let wanted = Wanted {
        key,
        id,
        id_required: true,
        compare,
    };
    let mut got = Got::default();
    let failed = |got: &mut Got, error: Error| match error {
        Error::Invalid { detail, errors } => {
            let errors = errors
                .into_iter()
                .map(|error| (error.line, error.detail))
                .collect();
            got.error = Some((detail, errors));
        }
        other => panic!("not about the listing: {}", other.chain()),
    };
    match rows(Parts(bytes, part), layout, &wanted) {
        Ok(rows) => {
            for read in rows {
                match read {
                    Ok(Read::Row(row)) => got.rows.push(row),
                    Ok(Read::Rejected { line, detail }) => got.rejected.push((line, detail)),
                    Err(error) => failed(&mut got, error),
                }
            }
        }
        Err(error) => failed(&mut got, error),
    }
    got
}

fn read(bytes: impl AsRef<[u8]>, layout: &Layout, key: &str, compare: &[(&str, ColumnKind)]) -> Got {
    let compare: Vec<Column> = compare
        .iter()
        .map(|(name, kind)| Column {
            name: (*name).to_owned(),
            kind: *kind,
        })
        .collect();
    let whole = read_in_parts(bytes.as_ref(), usize::MAX, layout, (key, key), &compare);
    let parts = read_in_parts(bytes.as_ref(), 3, layout, (key, key), &compare);
    assert_eq!(format!("{whole:?}"), format!("{parts:?}"));
    whole
}

fn layout(json: serde_json::Value) -> Layout {
    serde_json::from_value(json).expect("a layout")
}

fn tsv(columns: &[&str]) -> Layout {
    Layout {
        columns: Some(columns.iter().map(|name| (*name).to_owned()).collect()),
        ..Layout::of(Format::Tsv)
    }
}

const SIZE: &[(&str, ColumnKind)] = &[("size", ColumnKind::Size)];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_format_of_the_story_is_read() {
    let layout = layout(serde_json::json!({
        "format": "tsv",
        "columns": ["identifier", "uuid", "size", "gone", "created_at", "updated_at"],
        "gone": {"column": "gone", "values": ["true"]},
        "written_at": "created_at",
    }));
    let text = "inst/data/a.mov\tu1\t642111856\tfalse\t2017-02-22 10:00:00 UTC\t2017-02-22 10:00:00 UTC\n\
                inst/data/b.mov\tu2\t5\ttrue\t2017-04-17T20:58:10Z\t2017-04-18 10:00:00 UTC\n";
    let got = read(text, &layout, "identifier", SIZE);
    assert_eq!(got.rejected, []);
    let at = |text| Some(Timestamp::parse(text).unwrap());
    let row = |line, key: &str, size: &str, gone, written_at| Row {
        line,
        key: key.to_owned(),
        id: Some(key.to_owned()),
        values: vec![Some(size.to_owned())],
        gone,
        written_at,
    };
    assert_eq!(
        got.rows,
        [
            row(
                1,
                "inst/data/a.mov",
                "642111856",
                false,
                at("2017-02-22T10:00:00Z")
            ),
            row(2, "inst/data/b.mov", "5", true, at("2017-04-17T20:58:10Z")),
        ]
    );
}

#[test]
fn tables_are_read_as_spreadsheets_and_databases_write_them() {
    let csv = Layout::of(Format::Csv);
    for text in [
        "name,size\na b ,1\n\"c,\td\",2\n\"e\"\"f\",3\n",
        "\u{feff}name,size\r\na b ,1\r\n\"c,\td\",2\r\n\"e\"\"f\",3\r\n",
        "name,size\na b ,1\n\"c,\td\",2\n\"e\"\"f\",3",
    ] {
        let got = read(text, &csv, "name", SIZE);
        assert_eq!(
            got.values(),
            [
                ("a b ", vec![Some("1")]),
                ("c,\td", vec![Some("2")]),
                ("e\"f", vec![Some("3")])
            ]
        );
        assert_eq!(got.lines(), [2, 3, 4], "{text:?}");
    }
    // A name may go on over several lines, and the next line has the right number.
    let got = read("name,size\n\"a\nb\",1\nc,2\n", &csv, "name", SIZE);
    assert_eq!(got.values(), [("a\nb", vec![Some("1")]), ("c", vec![Some("2")])]);
    assert_eq!(got.lines(), [2, 4]);
    // Other columns, another order, and another separator.
    let semicolons = Layout {
        separator: Some(";".to_owned()),
        ..csv.clone()
    };
    let got = read("x;size;name\n?;7;a,b\n", &semicolons, "name", SIZE);
    assert_eq!(got.values(), [("a,b", vec![Some("7")])]);
    // Without quotation marks, they are ordinary characters.
    let plain = Layout {
        quotes: Some(false),
        ..tsv(&["name", "size"])
    };
    let got = read("\"a\t1\nb\"\t2\n", &plain, "name", SIZE);
    assert_eq!(got.values(), [("\"a", vec![Some("1")]), ("b\"", vec![Some("2")])]);
    let got = read("\"a\tx\"\t1\n", &tsv(&["name", "size"]), "name", SIZE);
    assert_eq!(got.values(), [("a\tx", vec![Some("1")])]);
}

#[test]
fn a_line_that_cannot_be_read_has_its_reason_and_costs_no_other_line() {
    let two = tsv(&["name", "size"]);
    let mut bytes = b"a\t1\nb\nc\t3\t3\n\t4\n".to_vec();
    bytes.extend(b"\xff\xfe\t5\nd\tmany\ne\t\nf\0\t6\n");
    bytes.extend(format!("{}\t7\n", "k".repeat(2_049)).into_bytes());
    bytes.extend(format!("{}\t8\n", "k".repeat(2_048)).into_bytes());
    let got = read(&bytes, &two, "name", SIZE);
    let long = "k".repeat(2_048);
    assert_eq!(
        got.values(),
        [
            ("a", vec![Some("1")]),
            // The row stays, so that it is not called missing.
            ("d", vec![Some("\u{1}many")]),
            ("e", vec![None]),
            (long.as_str(), vec![Some("8")]),
        ]
    );
    let reasons: Vec<(u64, &str)> = got
        .rejected
        .iter()
        .map(|(line, why)| (*line, why.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            (2, "has 1 cell, but there are 2 columns"),
            (3, "has 3 cells, but there are 2 columns"),
            (4, "column 'name': is empty"),
            (5, "column 'name': is not UTF-8"),
            (
                6,
                "column 'size': 'many' is not a number of bytes in digits, such as 642111856"
            ),
            (8, "column 'name': contains a NUL character"),
            (9, "column 'name': is longer than 2048 bytes"),
        ]
    );
    assert!(got.error.is_none());
}

#[test]
fn what_is_no_listing_is_refused_as_a_whole() {
    let csv = Layout::of(Format::Csv);
    for (bytes, words) in [
        (b"".to_vec(), "empty"),
        (b"\n\n".to_vec(), "names of the columns"),
        (b"\xff\xfen\0a\0".to_vec(), "UTF-16"),
        (b"PK\x03\x04....".to_vec(), "archive"),
        (b"PAR1....".to_vec(), "Parquet"),
        (
            b"name,bytes\na,1\n".to_vec(),
            "no column 'size'; its columns are name, bytes",
        ),
        (b"name,size,size\na,1,1\n".to_vec(), "'size' is there twice"),
        (b"na\xffme,size\n".to_vec(), "not UTF-8"),
        (b"name,size\n\"a,1\nb,2\n".to_vec(), "cut"),
        (b"name,size\na,1\n\"b,2\nc\",3,4\ne,4\n".to_vec(), "several lines"),
    ] {
        let got = read(&bytes, &csv, "name", SIZE);
        assert!(got.ended().1.contains(words), "{words}: {got:?}");
    }
    let long = format!("name,size\n\"{}", "x\n".repeat(1024 * 1024));
    let got = read_in_parts(long.as_bytes(), usize::MAX, &csv, ("name", "name"), &[]);
    assert!(
        got.ended().1.contains("longer than 1024 KiB"),
        "{:?}",
        got.ended()
    );
}

#[test]
fn too_many_unreadable_lines_end_the_reading() {
    let two = tsv(&["name", "size"]);
    let lines = |good: usize, bad: usize| {
        let good = (0..good).map(|n| format!("k{n}\t1\n"));
        let bad = (0..bad).map(|_| "bad\n".to_owned());
        good.chain(bad).collect::<String>()
    };
    // Ten are always allowed, unless there is nothing else.
    assert!(read(lines(1, 10), &two, "name", SIZE).error.is_none());
    assert!(read(lines(1, 11), &two, "name", SIZE).error.is_some());
    assert!(read(lines(0, 1), &two, "name", SIZE).error.is_some());
    assert!(read(lines(9_900, 100), &two, "name", SIZE).error.is_none());
    let got = read(lines(9_899, 101), &two, "name", SIZE);
    let (detail, errors) = got.error.unwrap();
    assert!(
        detail.starts_with("101 of 10000 lines cannot be read"),
        "{detail}"
    );
    assert_eq!((errors.len(), errors[0].0), (100, Some(9_900)));
    // Far too many end it early.
    let got = read(lines(0, 20_000), &two, "name", SIZE);
    assert!(got.error.unwrap().0.starts_with("10000 of 10000 lines"));
    // A share that is given holds exactly.
    let none = Layout {
        max_rejected: Some(0.0),
        ..two.clone()
    };
    assert!(read(lines(5_000, 1), &none, "name", SIZE).error.is_some());
    let half = Layout {
        max_rejected: Some(0.5),
        ..two
    };
    assert!(read(lines(50, 50), &half, "name", SIZE).error.is_none());
    assert!(read(lines(49, 51), &half, "name", SIZE).error.is_some());
}

#[test]
fn packed_listings_are_recognised_and_cut_ones_refused() {
    let two = tsv(&["name", "size"]);
    let text: String = (0..20_000).map(|n| format!("file-{n}\t{}\n", n * 7)).collect();
    let (first, second) = text.split_at(text.len() / 2);
    let mut members = gzip(first.as_bytes());
    members.extend(gzip(second.as_bytes()));
    let mut frames = zstd::encode_all(first.as_bytes(), 1).unwrap();
    frames.extend(zstd::encode_all(second.as_bytes(), 1).unwrap());
    let plain = read_in_parts(text.as_bytes(), usize::MAX, &two, ("name", "name"), &[]);
    assert_eq!(plain.rows.len(), 20_000);
    for (packed, name) in [(members, "gzip"), (frames, "zstd")] {
        let got = read_in_parts(&packed, 1_000, &two, ("name", "name"), &[]);
        assert_eq!(got.rows, plain.rows);
        let cut = read_in_parts(&packed[..packed.len() - 9], 1_000, &two, ("name", "name"), &[]);
        assert!(cut.ended().1.contains("cut"), "{name}: {:?}", cut.ended());
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 8].fill(0x55);
        let got = read_in_parts(&damaged, 1_000, &two, ("name", "name"), &[]);
        assert!(got.error.is_some(), "{name}");
    }
    for (header, encoding) in [
        (None, Ok(Encoding::Identity)),
        (Some("GZIP"), Ok(Encoding::Gzip)),
        (Some("zstd"), Ok(Encoding::Zstd)),
        (Some("br"), Err(())),
    ] {
        assert_eq!(Encoding::of_header(header).map_err(drop), encoding);
    }
    let mut all = String::new();
    let packed = gzip(text.as_bytes());
    let mut unpacked = unpack(packed.as_slice(), Encoding::Gzip).unwrap();
    unpacked.read_to_string(&mut all).unwrap();
    assert_eq!(all, text);
}

#[test]
fn an_error_of_the_input_is_returned_as_it_is() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other(Error::Unavailable(
                "the sender is gone".to_owned(),
            )))
        }
    }
    let wanted = Wanted {
        key: "name",
        id: "name",
        id_required: true,
        compare: &[],
    };
    for beginning in [&b"a\t1\nb"[..], b"\x1f\x8b\x08\x00", b""] {
        let input = io::Cursor::new(beginning).chain(Broken);
        let ended = rows(input, &tsv(&["name", "size"]), &wanted)
            .and_then(|rows| rows.collect::<Result<Vec<_>, Error>>().map(drop));
        assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
    }
}

#[test]
fn lines_of_json_are_read_by_field() {
    let layout = layout(serde_json::json!({"format": "ndjson", "mapping": {"sum": "Hashes.md5"}}));
    let compare = [
        ("size", ColumnKind::Size),
        ("sum", ColumnKind::Checksum),
        ("note", ColumnKind::Text),
    ];
    let text = r#"{"name":"a\tb","size":5,"other":{"x":[1,2]},"Hashes":{"md5":"d41d8cd98f00b204e9800998ecf8427e"},"note":"x"}

{"name":"c","size":"6","note":null,"Hashes":null}
{"name":"d","size":{"bytes":1}}
{"name":12,"size":7.0}
{"size":8}
["name"]
{"name":"e","size":1
{"name":"f","name":"g","size":1}
"#;
    let got = read(text, &layout, "name", &compare);
    assert_eq!(
        got.values(),
        [
            (
                "a\tb",
                vec![Some("5"), Some("md5:d41d8cd98f00b204e9800998ecf8427e"), Some("x")]
            ),
            ("c", vec![Some("6"), None, None]),
            ("d", vec![Some("\u{1}{\"bytes\":1}"), None, None]),
            ("12", vec![Some("7"), None, None]),
        ]
    );
    assert_eq!(got.lines(), [1, 3, 4, 5]);
    let rejected: Vec<u64> = got.rejected.iter().map(|(line, _)| *line).collect();
    assert_eq!(rejected, [4, 6, 7, 8, 9]);
    // A field that no line has is a misspelt name.
    let got = read(
        "{\"name\":\"a\",\"size\":1}\n",
        &Layout::of(Format::Ndjson),
        "name",
        &[("sise", ColumnKind::Size)],
    );
    assert!(got.ended().1.contains("'sise'"));
}

#[test]
fn rclone_lsjson_is_read_element_by_element() {
    let layout = layout(serde_json::json!({"format": "rclone_lsjson", "written_at": "ModTime"}));
    let compare = [("Size", ColumnKind::Size), ("Hashes.sha1", ColumnKind::Checksum)];
    let text = r#"[
{"Path":"sub","Name":"sub","Size":-1,"MimeType":"inode/directory","ModTime":"2017-02-22T10:00:00.000000000Z","IsDir":true},
{"Path":"sub/a ]}\".mov","Name":"a","Size":5,"MimeType":"video/quicktime","ModTime":"2017-02-22T11:00:00.000000000+01:00","IsDir":false,"Hashes":{"sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}},
{"Path":"doc","Name":"doc","Size":-1,"ModTime":"2017-02-22T10:00:00Z","IsDir":false},
{"Path":3},
7
]
"#;
    let got = read(text, &layout, "Path", &compare);
    assert_eq!(
        got.values(),
        [
            (
                "sub/a ]}\".mov",
                vec![Some("5"), Some("sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709")]
            ),
            ("doc", vec![None, None]),
            ("3", vec![None, None]),
        ]
    );
    assert_eq!(got.lines(), [3, 4, 5]);
    assert_eq!(
        got.rows[0].written_at,
        Some(Timestamp::parse("2017-02-22T10:00:00Z").unwrap())
    );
    assert_eq!(got.rejected.len(), 1);
    for (text, words) in [
        ("{}", "not a JSON array"),
        ("[{\"Path\":\"a\",\"Size\":1}", "cut"),
        ("[{\"Path\":\"a\",\"Size\":1},", "cut"),
        ("[{\"Path\":\"a", "cut"),
        ("[", "cut"),
        ("[] x", "goes on"),
    ] {
        let got = read(text, &Layout::of(Format::RcloneLsjson), "Path", &[]);
        assert!(got.ended().1.contains(words), "{text}: {got:?}");
    }
    let empty = read("[\n]\n", &Layout::of(Format::RcloneLsjson), "Path", &[]);
    assert!(empty.rows.is_empty() && empty.error.is_none());
}

#[test]
fn a_file_of_rclone_check_stands_for_both_sides() {
    let text =
        "= same.txt\n* changed.txt\n+ only in source.txt\n- only in destination.txt\n! unreadable.txt\n? x\n";
    let of = |side: &str| {
        let layout = layout(serde_json::json!({"format": "rclone_check", "side": side}));
        read(text, &layout, "path", &[("content", ColumnKind::Text)])
    };
    let same = || vec![Some("as in the source")];
    let source = of("source");
    assert_eq!(
        source.values(),
        [
            ("same.txt", same()),
            ("changed.txt", same()),
            ("only in source.txt", same()),
            ("unreadable.txt", same()),
        ]
    );
    let destination = of("destination");
    assert_eq!(
        destination.values(),
        [
            ("same.txt", same()),
            ("changed.txt", vec![Some("different")]),
            ("only in destination.txt", same()),
            ("unreadable.txt", vec![Some("\u{1}unknown")]),
        ]
    );
    assert_eq!(destination.lines(), [1, 2, 4, 5]);
    let rejected: Vec<u64> = destination.rejected.iter().map(|(line, _)| *line).collect();
    assert_eq!(rejected, [5, 6]);
}

#[test]
fn lines_of_sha256sum_are_read_in_all_their_forms() {
    let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let text = format!(
        "{sum}  a b\n{sum} *b\n\\{sum}  new\\nline\\\\\nSHA256 (c (d) = e) = {sum}\n{sum}  windows\r\n{sum} one space\nno sum\n\\{sum}  bad\\x\n"
    );
    let got = read(
        text,
        &Layout::of(Format::Sha256sum),
        "name",
        &[("checksum", ColumnKind::Checksum)],
    );
    let keys: Vec<&str> = got.rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(keys, ["a b", "b", "new\nline\\", "c (d) = e", "windows"]);
    let form = format!("sha256:{sum}");
    assert!(got.rows.iter().all(|row| row.values == [Some(form.clone())]));
    let rejected: Vec<u64> = got.rejected.iter().map(|(line, _)| *line).collect();
    assert_eq!(rejected, [6, 7, 8]);
}

/// An inventory of two files: its manifest and the bytes of the files.
fn inventory() -> (serde_json::Value, Vec<u8>) {
    let first = gzip(
        b"\"bucket\",\"data/a%2Bb+c.mov\",\"v1\",\"true\",\"false\",\"642111856\",\"2017-02-22T10:00:00.000Z\",\"d41d8cd98f00b204e9800998ecf8427e\",\"NOT-SSE\"\n\
          \"bucket\",\"data/old.mov\",\"v0\",\"false\",\"false\",\"1\",\"2017-02-22T10:00:00.000Z\",\"d41d8cd98f00b204e9800998ecf8427e\",\"NOT-SSE\"\n\
          \"bucket\",\"data/deleted.mov\",\"v2\",\"true\",\"true\",\"\",\"2017-02-22T10:00:00.000Z\",\"\",\"\"",
    );
    let second = gzip(
        b"\"bucket\",\"data/%C3%BC.mov\",\"v1\",\"true\",\"false\",\"0\",\"2017-02-22T10:00:00.000Z\",\"9b2cf535f27731c974343645a3985328-12\",\"NOT-SSE\"\n\
          \"bucket\",\"data/kms.mov\",\"v1\",\"true\",\"false\",\"0\",\"2017-02-22T10:00:00.000Z\",\"d41d8cd98f00b204e9800998ecf8427e\",\"SSE-KMS\"\n\
          \"bucket\",\"data/100%.mov\",\"v1\",\"true\",\"false\",\"0\",\"2017-02-22T10:00:00.000Z\",\"d41d8cd98f00b204e9800998ecf8427e\",\"NOT-SSE\"\n",
    );
    let file = |name: &str, bytes: &[u8]| serde_json::json!({"key": format!("inventory/bucket/all/data/{name}.csv.gz"), "size": bytes.len(), "MD5checksum": hex(&Md5::digest(bytes))});
    let manifest = serde_json::json!({
        "sourceBucket": "bucket",
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, EncryptionStatus",
        "files": [file("one", &first), file("two", &second)],
    });
    (manifest, [first, second].concat())
}

#[test]
fn an_inventory_is_read_by_its_manifest() {
    let (manifest, files) = inventory();
    let of = |manifest: &serde_json::Value| {
        layout(serde_json::json!({
            "format": "s3_inventory",
            "manifest": manifest,
            "mapping": {"name": "Key", "sum": "ETag"},
            "written_at": "LastModifiedDate",
        }))
    };
    let compare = [("Size", ColumnKind::Size), ("sum", ColumnKind::Checksum)];
    let got = read(&files, &of(&manifest), "name", &compare);
    assert!(got.error.is_none(), "{:?}", got.error);
    assert_eq!(
        got.values(),
        [
            (
                "data/a+b c.mov",
                vec![Some("642111856"), Some("md5:d41d8cd98f00b204e9800998ecf8427e")]
            ),
            (
                "data/ü.mov",
                vec![Some("0"), Some("multipart:9b2cf535f27731c974343645a3985328-12")]
            ),
            (
                "data/kms.mov",
                vec![Some("0"), Some("opaque:d41d8cd98f00b204e9800998ecf8427e")]
            ),
        ]
    );
    assert_eq!(got.lines(), [1, 4, 5]);
    assert_eq!(got.rejected.len(), 1);
    assert!(got.rejected[0].1.contains("URL-encoded"));
    let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e";
    let kms = "opaque:d41d8cd98f00b204e9800998ecf8427e";
    let exactly = Duration::ZERO;
    assert_eq!(compare_sums(md5, kms, exactly), Comparison::Incomparable);

    let mut wrong_sum = manifest.clone();
    wrong_sum["files"][1]["MD5checksum"] = "00000000000000000000000000000000".into();
    let mut swapped = manifest.clone();
    let last = swapped["files"][1].clone();
    swapped["files"][1] = swapped["files"][0].clone();
    swapped["files"][0] = last;
    let mut fewer = manifest.clone();
    fewer["files"].as_array_mut().unwrap().pop();
    for (manifest, bytes, words) in [
        (&wrong_sum, &files[..], "MD5 checksum"),
        (&swapped, &files[..], ""),
        (&fewer, &files[..], "goes on"),
        (&manifest, &files[..files.len() - 40], "cut"),
        (&manifest, &files[..files.len() - 1], "cut"),
    ] {
        let got = read(bytes, &of(manifest), "name", &compare);
        assert!(got.ended().1.contains(words), "{words}: {:?}", got.ended());
    }
    // Without the manifest, the columns must be known.
    let columns = layout(serde_json::json!({"format": "s3_inventory", "columns": ["Bucket", "Key", "Size"]}));
    let got = read(
        "\"b\",\"x%20y\",\"7\"\n",
        &columns,
        "Key",
        &[("Size", ColumnKind::Size)],
    );
    assert_eq!(got.values(), [("x y", vec![Some("7")])]);
}

#[test]
fn the_files_of_an_inventory_are_found_beside_its_manifest() {
    let key = "inv/bucket/all/data/one.csv.gz";
    for (manifest, place) in [
        (
            "inv/bucket/all/2017-02-22T01-00Z/manifest.json",
            "inv/bucket/all/data/one.csv.gz",
        ),
        (
            "/tmp/copy/inv/bucket/all/2017-02-22T01-00Z/manifest.json",
            "/tmp/copy/inv/bucket/all/data/one.csv.gz",
        ),
        (
            "https://s3.example.com/inventories/inv/bucket/all/2017-02-22T01-00Z/manifest.json",
            "https://s3.example.com/inventories/inv/bucket/all/data/one.csv.gz",
        ),
        ("/tmp/manifest.json", "/tmp/one.csv.gz"),
        ("manifest.json", "./one.csv.gz"),
    ] {
        assert_eq!(Manifest::places(manifest, key)[0], place);
    }
}

fn compare_sums(one: &str, other: &str, tolerance: Duration) -> Comparison {
    super::compare(ColumnKind::Checksum, one, other, tolerance)
}

#[test]
fn a_wrong_layout_names_its_fields() {
    let compare = [Column {
        name: "size".to_owned(),
        kind: ColumnKind::Size,
    }];
    let wanted = Wanted {
        key: "name",
        id: "uuid",
        id_required: false,
        compare: &compare,
    };
    for (json, pointers) in [
        (
            serde_json::json!({"format": "tsv", "columns": ["name", "size"]}),
            vec![],
        ),
        (
            serde_json::json!({"format": "tsv", "columns": []}),
            vec!["/expected/columns"],
        ),
        (
            serde_json::json!({"format": "tsv", "columns": ["name", "name", "size"]}),
            vec!["/expected/columns/1"],
        ),
        (
            serde_json::json!({"format": "tsv", "columns": ["name"], "written_at": "at", "gone": {"column": "gone", "values": []}}),
            vec![
                "/expected/gone/values",
                "/expected/columns",
                "/expected/gone/column",
                "/expected/written_at",
            ],
        ),
        (
            serde_json::json!({"format": "ndjson", "columns": ["name"], "separator": ";", "quotes": false, "side": "source"}),
            vec![
                "/expected/columns",
                "/expected/separator",
                "/expected/quotes",
                "/expected/side",
            ],
        ),
        (
            serde_json::json!({"format": "csv", "separator": "::", "time_zone": "Mars/Base", "max_rejected": 1.5}),
            vec![
                "/expected/separator",
                "/expected/time_zone",
                "/expected/max_rejected",
            ],
        ),
        (
            serde_json::json!({"format": "csv", "mapping": {"sise": "bytes"}}),
            vec!["/expected/mapping/sise"],
        ),
        (
            serde_json::json!({"format": "sha256sum"}),
            vec!["/expected/format"],
        ),
        (
            serde_json::json!({"format": "sha256sum", "mapping": {"size": "checksum"}}),
            vec![],
        ),
        (
            serde_json::json!({"format": "rclone_check", "mapping": {"name": "path", "size": "content"}}),
            vec!["/expected/side"],
        ),
        (
            serde_json::json!({"format": "s3_inventory"}),
            vec!["/expected/manifest"],
        ),
        (
            serde_json::json!({"format": "s3_inventory", "mapping": {"name": "Key", "size": "Size"},
                "manifest": {"fileFormat": "Parquet", "fileSchema": "Key, Size", "files": []}}),
            vec!["/expected/manifest/fileFormat", "/expected/manifest/files"],
        ),
    ] {
        let shown = json.to_string();
        let found = match layout(json).check("/expected", &wanted) {
            Ok(()) => Vec::new(),
            Err(Error::Invalid { errors, .. }) => {
                errors.into_iter().filter_map(|error| error.pointer).collect()
            }
            Err(other) => panic!("{}", other.chain()),
        };
        assert_eq!(found, pointers, "{shown}");
    }
    assert!(serde_json::from_str::<Layout>(r#"{"format":"tsv","colums":["a"]}"#).is_err());
}

fn every_layout() -> Vec<Layout> {
    let (manifest, _) = inventory();
    vec![
        tsv(&["name", "size"]),
        Layout::of(Format::Csv),
        layout(serde_json::json!({"format": "csv", "columns": ["name", "size"], "quotes": false})),
        Layout::of(Format::Ndjson),
        layout(
            serde_json::json!({"format": "s3_inventory", "manifest": manifest, "mapping": {"name": "Key", "size": "Size"}}),
        ),
        layout(serde_json::json!({"format": "s3_inventory", "columns": ["name", "size"]})),
        layout(serde_json::json!({"format": "rclone_lsjson"})),
        layout(
            serde_json::json!({"format": "rclone_check", "side": "source", "mapping": {"name": "path", "size": "content"}}),
        ),
        layout(serde_json::json!({"format": "sha256sum", "mapping": {"size": "checksum"}})),
    ]
}

/// Bytes that mean something to one of the readers, in any order.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..8),
        proptest::sample::select(vec![
            "name",
            "size",
            "\t",
            ",",
            "\n",
            "\r\n",
            "\"",
            "\"\"",
            "{",
            "}",
            "[",
            "]",
            "\\",
            "{\"name\":\"a\",\"size\":1}",
            "= a",
            "* b",
            "! c",
            "d41d8cd98f00b204e9800998ecf8427e  x",
            "\u{feff}",
            "\u{1f}",
            "%41",
            "12",
            "\0",
            "é",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Keys as the world has them.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z/]{1,20}",
        "[ \\ta-z\"',;|\\\\]{1,12}",
        Just("cafe\u{301}".to_owned()),
        Just("café".to_owned()),
        Just(" leading and trailing ".to_owned()),
        Just("k".repeat(1_024)),
        Just("\u{feff}mark".to_owned()),
        Just("two\nlines".to_owned()),
        "\\PC{1,30}",
    ]
    .prop_filter("a key without NUL", |key| !key.contains('\0') && !key.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_break_a_reader(bytes in noise(), packed in any::<bool>(), part in 1_usize..50) {
        let bytes = if packed { gzip(&bytes) } else { bytes };
        let compare = [Column { name: "size".to_owned(), kind: ColumnKind::Size }];
        for layout in every_layout() {
            let key = if layout.format == Format::RcloneLsjson { "Path" } else { "name" };
            let whole = read_in_parts(&bytes, usize::MAX, &layout, (key, key), &compare);
            let parts = read_in_parts(&bytes, part, &layout, (key, key), &compare);
            prop_assert_eq!(format!("{:?}", &whole), format!("{:?}", parts));
            // Lines are in order, and each is a row, or rejected, or both.
            prop_assert!(whole.lines().windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(whole.rejected.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        }
    }

    #[test]
    fn what_is_written_is_read(entries in proptest::collection::vec((key(), any::<u64>()), 1..20), crlf in any::<bool>()) {
        let expected: Vec<(String, Option<String>)> =
            entries.iter().map(|(key, size)| (key.clone(), Some(size.to_string()))).collect();
        for separator in [b',', b'\t', b'|'] {
            let mut writer = csv::WriterBuilder::new()
                .delimiter(separator)
                .terminator(if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') })
                .quote_style(csv::QuoteStyle::Always)
                .from_writer(Vec::new());
            writer.write_record(["size", "name"]).unwrap();
            for (key, size) in &entries {
                writer.write_record([size.to_string().as_str(), key]).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let layout = Layout { separator: Some(char::from(separator).to_string()), ..Layout::of(Format::Csv) };
            let got = read(&text, &layout, "name", SIZE);
            prop_assert!(got.rejected.is_empty() && got.error.is_none(), "{:?}", got);
            let found: Vec<_> = got.rows.into_iter().map(|row| (row.key, row.values[0].clone())).collect();
            prop_assert_eq!(&found, &expected);
        }
        let text: String = entries
            .iter()
            .map(|(key, size)| serde_json::json!({"size": size, "name": key}).to_string() + if crlf { "\r\n" } else { "\n" })
            .collect();
        let got = read(&text, &Layout::of(Format::Ndjson), "name", SIZE);
        let found: Vec<_> = got.rows.into_iter().map(|row| (row.key, row.values[0].clone())).collect();
        prop_assert_eq!(&found, &expected);
        let array: Vec<_> = entries
            .iter()
            .map(|(key, size)| serde_json::json!({"size": size, "name": key, "IsDir": false}))
            .collect();
        let got = read(serde_json::to_vec_pretty(&array).unwrap(), &Layout::of(Format::RcloneLsjson), "name", SIZE);
        let found: Vec<_> = got.rows.into_iter().map(|row| (row.key, row.values[0].clone())).collect();
        prop_assert_eq!(&found, &expected);
    }

    #[test]
    fn a_checksum_has_one_form(bytes in proptest::collection::vec(any::<u8>(), 16..=16)) {
        use base64::Engine as _;
        let form = format!("md5:{}", hex(&bytes));
        for text in [
            hex(&bytes),
            hex(&bytes).to_uppercase(),
            base64::engine::general_purpose::STANDARD.encode(&bytes),
            base64::engine::general_purpose::STANDARD_NO_PAD.encode(&bytes),
        ] {
            prop_assert_eq!(normalise(ColumnKind::Checksum, &text, None), Ok(form.clone()));
        }
    }
}
