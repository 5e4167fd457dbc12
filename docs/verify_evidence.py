#!/usr/bin/env python3
"""Verifies a file of evidence that Candor made. It needs Python 3.9 or later, and the command openssl (1.1.1 or later).

    python3 verify_evidence.py FILE [--key VERIFIER_KEY] [--openssl PATH]

It prints what is proven and ends with 0, or prints the first fault and ends with 1. VERIFY.md in the file explains each step.
It uses nothing of Candor, so that a fault of Candor cannot hide here.
"""

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile

AFTER_MANIFEST = {"manifest.json", "audit/checkpoint", "audit/key", "audit/events.ndjson", "audit/proofs.json"}


class Fault(Exception):
    """Something that is not as it should be."""


def require(condition, text):
    if not condition:
        raise Fault(text)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def lines_of(content):
    return [line for line in content.split(b"\n") if line]


# --- The Merkle tree (RFC 9162) -------------------------------------------------------------------------------------------------------


def leaf_hash(content):
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def is_included(position, size, leaf, path, root):
    """RFC 9162, section 2.1.3.2. The position begins at 0."""
    if not 0 <= position < size:
        return False
    node, last, computed = position, size - 1, leaf
    for other in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            computed = node_hash(other, computed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            computed = node_hash(computed, other)
        node, last = node >> 1, last >> 1
    return last == 0 and computed == root


def is_beginning(old, new, old_root, new_root, path):
    """RFC 9162, section 2.1.4.2: the tree of the size `new` begins with the tree of the size `old`."""
    if not 0 < old <= new:
        return old == 0 and not path and old_root == hashlib.sha256(b"").digest()
    if old == new:
        return not path and old_root == new_root
    if old & (old - 1) == 0:
        path = [old_root] + path
    if not path:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = now = path[0]
    for other in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, now = node_hash(other, before), node_hash(other, now)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            now = node_hash(now, other)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old_root and now == new_root


def hashes(path):
    decoded = [base64.b64decode(text, validate=True) for text in path]
    require(all(len(one) == 32 for one in decoded), "a proof has something that is not a hash")
    return decoded


# --- Signed notes and checkpoints (C2SP signed-note and tlog-checkpoint) --------------------------------------------------------------


def verify_ed25519(openssl, key, text, signature):
    """Lets openssl verify a signature. The bytes before the key say that it is an Ed25519 key (RFC 8410)."""
    with tempfile.TemporaryDirectory() as folder:
        names = {}
        content = {"key": bytes.fromhex("302a300506032b6570032100") + key, "text": text, "signature": signature}
        for name, value in content.items():
            names[name] = f"{folder}/{name}"
            with open(names[name], "wb") as file:
                file.write(value)
        command = [openssl, "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", names["key"], "-rawin"]
        command += ["-in", names["text"], "-sigfile", names["signature"]]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def open_note(openssl, note, verifier):
    """Verifies a signed note with a verifier key NAME+HASH+KEY, and returns the checkpoint: its origin, size and root."""
    name, key_hash, key = verifier.strip().split("+", 2)
    key = base64.b64decode(key, validate=True)
    require(len(key) == 33 and key[0] == 1, "the key is not one of Ed25519")
    expected = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    require(expected.hex() == key_hash, "the hash does not belong to this name and key")
    text, separator, signatures = note.rpartition(b"\n\n")
    require(separator, "the note has no signature")
    text += b"\n"
    for line in signatures.decode().splitlines():
        dash, signer, signature = line.split(" ", 2)
        signature = base64.b64decode(signature, validate=True)
        if dash == "\u2014" and signer == name and signature[:4] == expected:
            require(verify_ed25519(openssl, key[1:], text, signature[4:]), "the signature does not match the text")
            origin, size, root = text.decode().split("\n")[:3]
            require(origin == name, "the origin is not the name of the key")
            return origin, int(size), base64.b64decode(root, validate=True)
    raise Fault("the note has no signature of the key")


# --- The parts of the file ------------------------------------------------------------------------------------------------------------


class Evidence:
    def __init__(self, path, key, openssl):
        self.zip = zipfile.ZipFile(path)
        self.key, self.openssl, self.proven = key, openssl, []

    def read(self, name):
        try:
            return self.zip.read(name)
        except KeyError:
            raise Fault(f"{name} is missing") from None

    def rows(self, name):
        return json.loads(self.read(name))

    def verify(self):
        names = self.zip.namelist()
        require(len(names) == len(set(names)), "a part of the zip has the same name as another one")
        self.manifest = json.loads(self.read("manifest.json"))
        require(self.manifest["format"] == "candor-evidence-1", "the format is not known")
        self.check_files(set(names))
        self.check_trail()
        self.check_manifest()
        self.check_recipients()
        self.check_attempts()
        self.check_deliveries()
        self.check_answers()
        self.check_time_stamps(names)
        return self.proven

    def check_files(self, names):
        """Every file has the hash of the manifest, and there is no other."""
        listed = {file["path"]: file for file in self.manifest["files"]}
        require(len(listed) == len(self.manifest["files"]), "the manifest lists a file twice")
        for name in sorted(names - AFTER_MANIFEST):
            require(name in listed, f"{name} is not in the manifest")
            require(sha256(self.read(name)) == listed[name]["sha256"], f"{name} is not what the manifest lists: it was changed")
        missing = sorted(set(listed) - (names - AFTER_MANIFEST))
        require(not missing, f"{missing[:1]} is missing")
        self.proven.append(f"All {len(listed)} files are those of the manifest.")

    def check_trail(self):
        """The checkpoint is signed, and every event is in its tree. A line of events.ndjson is the event exactly as it is hashed."""
        key = self.read("audit/key").decode().strip()
        require(self.key in (None, key), "audit/key is not the key that was given: somebody else made the file, or the key was changed")
        self.origin, self.size, self.root = open_note(self.openssl, self.read("audit/checkpoint"), key)
        proofs = json.loads(self.read("audit/proofs.json"))
        require(proofs["size"] == self.size, "audit/proofs.json is not about the checkpoint")
        self.consistency = proofs["consistency"]
        self.events, self.proofs, last, last_hash = {}, proofs["events"], 0, None
        for line in lines_of(self.read("audit/events.ndjson")):
            fields = json.loads(line)
            require(len(fields) == 12, "an event cannot be read")
            seq, digest = fields[0], hashlib.sha256(line).digest()
            require(seq > last, f"event {seq} stands after event {last}: the order was changed")
            require(seq != last + 1 or last_hash in (None, fields[11]), f"event {seq} does not follow from event {last}")
            self.check_included(seq, digest)
            self.events[seq] = {
                "hash": digest.hex(), "action": fields[5], "type": fields[6], "subject": fields[7], "incident": fields[8],
                "after": json.loads(fields[10]) if fields[10] else {},
            }
            last, last_hash = seq, digest.hex()
        # An erasure redacts events. Their hashes stay, and their text does not give them any more.
        redacted, listed = self.manifest["redacted"], dict(self.manifest["events"])
        for seq in redacted:
            require(seq in listed and seq not in self.events, f"event {seq} is listed as redacted, and is not")
            self.check_included(seq, bytes.fromhex(listed[seq]))
        text = "audit/proofs.json has a proof of an event that is missing"
        require(len(self.events) + len(redacted) == len(self.proofs), text)
        self.by_subject = {}
        for seq, event in self.events.items():
            self.by_subject.setdefault((event["action"], event["subject"]), []).append(event)
        self.proven.append(f"The checkpoint of {self.origin} with {self.size} events is signed by {key}.")
        if self.key is None:
            self.proven.append("The key is from the file itself. Compare it with the key that the sender gives by another way.")
        self.proven.append(f"All {len(self.events)} events are in the tree of this checkpoint.")
        if redacted:
            self.proven.append(f"Of {len(redacted)} further events only the hashes are in the tree: their text was redacted or changed.")

    def check_included(self, seq, digest):
        require(str(seq) in self.proofs, f"event {seq} has no proof")
        path = hashes(self.proofs[str(seq)])
        text = f"event {seq} is not in the tree of the checkpoint: the event, its proof or the checkpoint was changed"
        require(is_included(seq - 1, self.size, leaf_hash(digest), path, self.root), text)

    def check_manifest(self):
        """The events are those of the manifest, and one more: that this manifest was made."""
        for seq, digest in self.manifest["events"]:
            if seq in self.manifest["redacted"]:
                continue
            require(seq in self.events, f"event {seq} is in the manifest and missing in the file")
            require(self.events[seq]["hash"] == digest, f"event {seq} is not the one of the manifest")
        others = sorted(set(self.events) - {seq for seq, _ in self.manifest["events"]})
        require(len(others) == 1, "the file must have exactly one event that is not in its manifest")
        event, about = self.events[others[0]], self.manifest["about"]
        require(event["action"] == "evidence.exported", f"event {others[0]} is not in the manifest")
        text = f"event {others[0]} contains the hash of another manifest: the manifest was changed after the file was made"
        require(event["after"].get("manifest") == sha256(self.read("manifest.json")), text)
        said = [event["after"].get(name) for name in ("person", "account", "incidents")] + [event["subject"], event["incident"]]
        meant = [about["person"], about["account"], about["incidents"], about["incident"], about["incident"]]
        require(said == meant, "the manifest is about something else than its event")
        self.proven.append(f"Event {others[0]} contains the hash of the manifest.")

    def check_earlier(self, name, size, root):
        require(str(size) in self.consistency, f"{name}: the proof for the checkpoint of {size} events is missing")
        path = hashes(self.consistency[str(size)])
        text = f"{name}: the checkpoint of {size} events is not an earlier state of the trail: one of them was rewritten"
        require(is_beginning(size, self.size, root, self.root, path), text)

    def is_row(self, proof, line, root):
        """Recipients and attempts are hashed with a salt of their own, so that nobody can guess the rows that are not shown."""
        leaf = leaf_hash(bytes.fromhex(proof["salt"]) + line)
        return is_included(proof["position"], proof["rows"], leaf, hashes(proof["path"]), bytes.fromhex(root))

    def check_recipients(self):
        """The lists of recipients are those whose digest, or whose root, is in the event of the notice."""
        self.addresses, whole = {}, 0
        for notice in self.rows("data/notices.json"):
            event = self.events.get(notice["event"])
            found = event and event["action"] == "notice.queued" and event["subject"] == notice["id"]
            require(found, f"the event of the notice {notice['id']} is missing")
            name = f"data/recipients/{notice['id']}.ndjson"
            content = self.read(name)
            lines, after = lines_of(content), event["after"]
            frozen = json.loads(lines[0])
            texts = json.loads(frozen["content"])
            same = (frozen["id"], texts["message"], texts["phase"]) == (notice["id"], notice["message"], notice["phase"])
            require(same, f"data/notices.json: the notice {notice['id']} is not the frozen one")
            for line in lines[1:]:
                row = json.loads(line)
                self.addresses[notice["id"], row["ordinal"]] = row["address"]
            total = after["recipients"] + after["endpoints"] + 1
            proofs = f"data/recipients/{notice['id']}.proofs.json"
            if notice["erased"]:
                self.proven.append(f"The list of the notice {notice['id']} cannot be compared, because recipients were erased since.")
            elif notice["list"] == "whole":
                text = f"{name} is not the list whose digest event {notice['event']} contains"
                require(len(lines) == total and sha256(content) == after["frozen"], text)
                whole += 1
            elif after.get("frozen_root") and proofs in self.zip.namelist():
                given, last = json.loads(self.read(proofs))["proofs"], -1
                require(len(given) == len(lines), f"{proofs} does not have one proof for each line")
                for line, proof in zip(lines, given):
                    fits = proof["position"] > last and (last >= 0 or proof["position"] == 0) and proof["rows"] == total
                    require(fits and self.is_row(proof, line, after["frozen_root"]), f"a line of {name} is not in the list that was frozen")
                    last = proof["position"]
            else:
                self.proven.append(f"Nothing but the manifest proves the recipients of the notice {notice['id']}.")
        rows = [row for row in self.rows("data/recipients.json") if row["withheld"] is None]
        require(len(rows) == len(self.addresses), "data/recipients.json does not have the recipients of the frozen lists")
        for row in rows:
            same = self.addresses.get((row["notice"], row["ordinal"])) == row["address"]
            require(same, f"data/recipients.json: recipient {row['ordinal']} of the notice {row['notice']} is not the frozen one")
        self.proven.append(f"{len(self.addresses)} recipients are what was frozen before sending ({whole} whole lists).")

    def check_attempts(self):
        """The attempts are those whose digest, or whose root, is in the event of their batch."""
        self.attempts, batches, unproven = {}, {}, 0
        for text in lines_of(self.read("data/attempts.ndjson")):
            attempt = json.loads(text)
            line = attempt["line"].encode()
            delivery, number, _, outcome, reply, *rest = json.loads(line)
            # The hash of the email comes first, and then the mail server.
            emails = [email for email in rest[:1] if email]
            made = self.attempts.setdefault(delivery, {"count": 0, "accepted": False, "last": 0, "reply": "", "emails": []})
            made["count"] += 1
            made["accepted"] |= outcome in ("sent", "ambiguous")
            made["emails"] += emails
            if number > made["last"]:
                made["last"], made["reply"] = number, reply
            if attempt["proven_by"] == "nothing":
                unproven += 1
                continue
            events = self.by_subject.get(("delivery.attempts", attempt["batch"]), [])
            require(events, f"the event of the batch {attempt['batch']} is missing")
            if attempt["proven_by"] == "proof":
                proven = self.is_row(attempt["proof"], line, events[0]["after"]["root"])
                require(proven, f"an attempt is not in the batch {attempt['batch']}")
            else:
                batches.setdefault(attempt["batch"], []).append(line + b"\n")
        for batch, lines in batches.items():
            after = self.by_subject["delivery.attempts", batch][0]["after"]
            same = after["count"] == len(lines) and after["digest"] == sha256(b"".join(lines))
            require(same, f"the attempts of the batch {batch} are not what was recorded")
        self.proven.append(f"{sum(made['count'] for made in self.attempts.values()) - unproven} attempts are what was recorded.")
        if unproven:
            self.proven.append(f"Nothing but the manifest proves {unproven} attempts.")

    def check_deliveries(self):
        """The deliveries agree with the attempts, and the emails have the hashes that were recorded with the attempts."""
        nothing, emails, sizes = {"count": 0, "accepted": False, "reply": "", "emails": []}, set(), set()
        for row in self.rows("data/deliveries.json"):
            address = self.addresses.get((row["notice"], row["ordinal"]), row["address"])
            require(address == row["address"], f"data/deliveries.json: recipient {row['ordinal']} of the notice {row['notice']} is not the frozen one")
            if row["delivery"] is None:
                continue
            made = self.attempts.get(row["delivery"], nothing)
            accepted = row["state"] != "sent" or made["accepted"]
            same = accepted and (row["attempts"], row["reply"]) == (made["count"], made["reply"])
            require(same, f"data/deliveries.json: delivery {row['delivery']} does not agree with its attempts")
            if row["email"]:
                content = self.read(row["email"])
                recorded = sha256(content) in made["emails"]
                require(recorded, f"{row['email']} is not the email that was recorded for delivery {row['delivery']}")
                emails.add(row["email"])
                head = content.split(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").decode()
                for line in head.split("\r\n"):
                    if line.lower().startswith("candor-audit:"):
                        _, size, root = line.split(":", 1)[1].split()
                        self.check_earlier(row["email"], int(size), base64.b64decode(root, validate=True))
                        sizes.add(int(size))
        others = sorted(name for name in self.zip.namelist() if name.startswith("mails/") and name not in emails)
        require(not others, f"{others[:1]} belongs to no delivery")
        self.proven.append(f"{len(emails)} emails are byte for byte what was sent.")
        if sizes:
            self.proven.append(f"The checkpoints in the emails ({min(sizes)} to {max(sizes)} events) are earlier states of this trail.")

    def check_answers(self):
        """The answers are those of the events, which contain the hash of the text."""
        rows = self.rows("data/answers.json")
        for row in rows:
            events = self.by_subject.get(("answer.recorded", row["person"]), [])
            names = ("answer", "at", "delivery", "notice")
            events = [event for event in events if all(event["after"][name] == row[name] for name in names)]
            digests = [event["after"]["text_sha256"] for event in events]
            digest = sha256(row["text"].encode()) if row["text"] else None
            # A text that was erased since is empty, and its event still has the hash.
            same = digest in digests or (events and not row["text"])
            require(same, f"data/answers.json: an answer of {row['person']} is not what was recorded")
        self.proven.append(f"{len(rows)} answers are what was recorded.")

    def check_time_stamps(self, names):
        """Each time stamp is about a checkpoint that is an earlier state of the trail. VERIFY.md says how to verify its signature."""
        stamps = [name for name in names if name.endswith(".tsr")]
        for name in stamps:
            before = name.rsplit("/", 1)[0] + "/" + name.rsplit("/", 1)[1].split("-", 1)[0]
            note = self.read(before + ".checkpoint")
            _, size, root = open_note(self.openssl, note, self.read(before + ".key").decode())
            self.check_earlier(name, size, root)
            require(hashlib.sha256(note).digest() in self.read(name), f"{name} is not about the checkpoint beside it")
        if stamps:
            self.proven.append(f"{len(stamps)} time stamps are about earlier states of the trail.")


def main():
    parser = argparse.ArgumentParser(description="Verifies a file of evidence that Candor made.")
    parser.add_argument("file")
    parser.add_argument("--key", help="the verifier key of the sender, from another source than the file")
    parser.add_argument("--openssl", default="openssl", help="the command openssl")
    given = parser.parse_args()
    try:
        for sentence in Evidence(given.file, given.key and given.key.strip(), given.openssl).verify():
            print(sentence)
    except Fault as fault:
        print(f"NOT PROVEN: {fault}")
        return 1
    except Exception as error:  # Whatever it is: a file that cannot be read proves nothing.
        print(f"NOT PROVEN: the file cannot be read: {type(error).__name__}: {error}")
        return 1
    print("Everything that is said above is proven. The rest is what the sender exported, and was not changed since.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
