// Asks a Trunkline daemon on this machine, with Node alone.
//
//     const trunkline = new Trunkline("/run/trunkline/api.sock", process.env.TRUNKLINE_TOKEN);
//     const answer = await trunkline.ask("tokens", {
//         tenant: …, from: "+971501234567", grants: { room: "call-7", identity: "dialler" } });
//
// Connections are kept and used again. Routes that only answer may be asked again, so that is done once
// where the connection broke or the daemon says "later". Do not ask one that changes something with this.

import { Agent, request } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout } from "node:timers/promises";

// The daemon said no: `status`, and `problem` with its code, detail, hint and field.
export class Refused extends Error {
    constructor(status, problem) {
        super(`${problem.code}: ${problem.detail}`);
        Object.assign(this, { status, problem });
    }
}

export class Trunkline {
    constructor(socketPath, token, timeout = 5000) {
        const headers = { "Content-Type": "application/json" };
        if (token) headers.Authorization = `Bearer ${token}`;
        const agent = new Agent({ keepAlive: true });
        this.options = { socketPath, headers, timeout, agent, method: "POST" };
    }

    async ask(route, body) {
        for (let last = false; ; last = true) {
            const answer = await this.once(`/v1/${route}`, JSON.stringify(body)).catch((error) => {
                if (last) throw error;
            });
            if (!answer) continue;
            if (answer.status < 300) return answer.body;
            if (last || ![429, 503].includes(answer.status)) throw new Refused(answer.status, answer.body);
            await setTimeout(1000 * answer.wait);
        }
    }

    once(path, body) {
        return new Promise((resolve, reject) => {
            const asked = request({ ...this.options, path }, async (answer) => {
                const { statusCode: status, headers } = answer;
                const read = text(answer).then(JSON.parse);
                read.then((body) => resolve({ status, body, wait: headers["retry-after"] ?? 1 }), reject);
            });
            asked.on("timeout", () => asked.destroy(new Error("the daemon does not answer")));
            asked.on("error", reject).end(body);
        });
    }
}
