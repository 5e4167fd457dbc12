// Sends mails by nodemailer, pooled, each to a recipient of its own, and prints how long it took:
// from the first mail handed over until the last was accepted. Its argument is one JSON object.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';

const job = JSON.parse(process.argv[2]);
const nodemailer = createRequire(join(job.folder, 'package.json'))('nodemailer');

const transport = nodemailer.createTransport({
    pool: true,
    maxConnections: job.connections,
    maxMessages: Infinity,
    host: '127.0.0.1',
    port: job.port,
    secure: false,
    ignoreTLS: true,
});

let next = 0;
let bytes = 0;
async function some() {
    while (next < job.messages) {
        const n = next++;
        const info = await transport.sendMail({
            from: 'Candor <candor@sender.example>',
            to: { name: `Person ${n}`, address: `person-${n}@crowd.example` },
            subject: job.subject,
            text: job.text,
            html: job.html,
        });
        if (n === 0) bytes = info.messageSize;
    }
}

const started = performance.now();
// Twice as many as connections: its queue is never empty, and never holds everything at once.
await Promise.all(Array.from({ length: 2 * job.connections }, some));
const seconds = (performance.now() - started) / 1000;
transport.close();
console.log(JSON.stringify({ seconds, bytes }));
