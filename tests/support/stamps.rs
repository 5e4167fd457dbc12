//! An authority for time stamps (RFC 3161), which the program `openssl` plays. It has its own certificate authority.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::receiver::{Received, Receiver, Reply};

/// A time-stamp authority with its files.
pub struct StampAuthority {
    folder: PathBuf,
}

/// Runs `openssl` in a folder and returns what it says. It must succeed.
fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the program openssl (Debian: openssl)");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
    said
}

impl StampAuthority {
    /// Makes the keys and the certificates in a new folder. `key` are the arguments of `openssl req -newkey`, such as `rsa:2048`.
    pub fn new(folder: &Path, key: &[&str]) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let conf = "\
[ tsa ]\ndefault_tsa = the_tsa\n\
[ the_tsa ]\nserial = serial\ncrypto_device = builtin\nsigner_cert = tsa.pem\ncerts = ca.pem\nsigner_key = tsa.key\n\
signer_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = sha256, sha384, sha512\naccuracy = secs:1\nordering = yes\n\
tsa_name = yes\ness_cert_id_chain = no\ness_cert_id_alg = sha256\n\
[ req ]\ndistinguished_name = name\n[ name ]\n\
[ ca ]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign\nsubjectKeyIdentifier = hash\n\
[ stamps ]\nbasicConstraints = CA:FALSE\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = critical,timeStamping\n";
        std::fs::write(folder.join("ts.cnf"), conf).expect("a file");
        std::fs::write(folder.join("serial"), "01\n").expect("a file");
        let named = |name: &str| format!("/CN={name}");
        let new_key = [&["req", "-config", "ts.cnf", "-nodes", "-newkey"], key].concat();
        let (ca, tsa) = (named("Authority of a test"), named("Time stamps of a test"));
        openssl(
            folder,
            &[
                &new_key[..],
                &[
                    "-x509",
                    "-days",
                    "3650",
                    "-keyout",
                    "ca.key",
                    "-out",
                    "ca.pem",
                    "-subj",
                    &ca,
                    "-extensions",
                    "ca",
                ],
            ]
            .concat(),
        );
        openssl(
            folder,
            &[
                &new_key[..],
                &["-keyout", "tsa.key", "-out", "tsa.csr", "-subj", &tsa],
            ]
            .concat(),
        );
        openssl(
            folder,
            &[
                "x509",
                "-req",
                "-in",
                "tsa.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-set_serial",
                "4711",
                "-days",
                "3650",
                "-out",
                "tsa.pem",
                "-extfile",
                "ts.cnf",
                "-extensions",
                "stamps",
            ],
        );
        StampAuthority {
            folder: folder.to_owned(),
        }
    }

    /// Returns the file with the certificate of the authority that issued the certificate of the signer.
    pub fn trusted(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Answers a request.
    pub fn stamp(&self, query: &[u8]) -> Vec<u8> {
        std::fs::write(self.folder.join("query"), query).expect("a file");
        openssl(
            &self.folder,
            &[
                "ts",
                "-reply",
                "-config",
                "ts.cnf",
                "-queryfile",
                "query",
                "-out",
                "reply",
            ],
        );
        std::fs::read(self.folder.join("reply")).expect("an answer")
    }

    /// Starts a server that answers requests.
    pub fn serve(folder: &Path) -> Receiver {
        let authority = StampAuthority {
            folder: folder.to_owned(),
        };
        Receiver::answering(move |_, request: &Received| {
            if request.header("content-type") != "application/timestamp-query" {
                return Reply::of(415);
            }
            Reply::of(200)
                .header("content-type", "application/timestamp-reply")
                .body(authority.stamp(&request.body))
        })
    }

    /// Verifies an answer as somebody without Candor does. Returns what `openssl` says.
    pub fn verify(&self, response: &[u8], data: &[u8]) -> String {
        std::fs::write(self.folder.join("response"), response).expect("a file");
        std::fs::write(self.folder.join("data"), data).expect("a file");
        openssl(
            &self.folder,
            &[
                "ts", "-verify", "-in", "response", "-data", "data", "-CAfile", "ca.pem",
            ],
        )
    }
}
