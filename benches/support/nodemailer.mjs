// Sends emails by nodemailer with a pool of connections, each to a different recipient. Prints the seconds
// from handing over the first email until the last one was accepted. The argument is one JSON object.
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
// There are twice as many senders as connections. The queue of nodemailer is therefore never empty, and it
// never contains all emails at once.
await Promise.all(Array.from({ length: 2 * job.connections }, some));
const seconds = (performance.now() - started) / 1000;
transport.close();
console.log(JSON.stringify({ seconds, bytes }));
