// Logs a browser in: what an app does once its camera has read a code. Nothing but Foundation.
import Foundation

/// The service said no. `triesLeft`: the digits were wrong, and so many tries are left. `isKey` is false where no login code was
/// scanned at all: then nothing has expired.
struct Refused: Error {
    let status: Int
    let code: Int
    let triesLeft: Int?
    let isKey: Bool
    let message: String
}

/// The code is not one of this service's.
struct ForeignCode: Error {}

/// `ip` and `ageMs` the service has seen itself, as the flags and the digits: they are evidence. `origin` and `browserName` are what the
/// asker says of itself, and any program can say the same; mark them so. `origin` is empty where no page asks.
struct Browser: Decodable {
    let ip: String
    let ageMs: Int
    let origin: String
    let browserName: String
}

/// What a person must see before they decide.
struct Question {
    let browser: Browser
    let flags: [String]
    let needsDigits: Bool
}

enum Decision {
    case decline
    case approve(digits: String?)
}

private struct Answer: Decodable {
    let code: Int
    let msg: String
    let claim: String?
    let browser: Browser?
    let flags: [String]?
    let match: Bool?
    let state: String?
    let triesLeft: Int?
    let isKey: Bool?
}

struct ScanLogin {
    /// Your own, never taken from a code.
    let service: String
    /// A fresh JWT of the user who is logged in to the app.
    let appToken: () async throws -> String

    /// Returns how it ended: delivered, denied, undelivered, expired or cancelled. `ask` may be asked again.
    func logIn(code: String, ask: (Question, _ triesLeft: Int?) async -> Decision) async throws -> String {
        // The service finds the key in it, also behind `%23` for `#`, and before what messengers add to an address.
        guard code.contains(service + "/s") else { throw ForeignCode() }
        let scan = try await call("POST", "/scan", body: ["key": code])
        let claim = scan.claim ?? ""
        // Without facts it was decided before: this scan was a repetition.
        if scan.code == 101, let browser = scan.browser {
            let question = Question(browser: browser, flags: scan.flags ?? [], needsDigits: scan.match ?? false)
            try await decide(claim, question, ask)
        }
        return try await outcome(claim)
    }

    private func decide(_ claim: String, _ question: Question, _ ask: (Question, Int?) async -> Decision) async throws {
        var triesLeft: Int?
        while true {
            switch await ask(question, triesLeft) {
            case .decline:
                _ = try await call("POST", "/scan/deny", body: ["claim": claim])
                return
            case .approve(let digits):
                var body = ["claim": claim]
                if let digits { body["match"] = digits }
                do {
                    _ = try await call("POST", "/scan/confirm", body: body)
                    return
                } catch let refused as Refused {
                    guard let left = refused.triesLeft else { throw refused }
                    // The third wrong number denies the login; the outcome says so.
                    if left == 0 { return }
                    triesLeft = left
                }
            }
        }
    }

    /// Only `delivered` means that the browser has it.
    private func outcome(_ claim: String) async throws -> String {
        var state = "approved"
        for _ in 1...20 {
            state = try await call("GET", "/scan/outcome?wait=10", claim: claim).state ?? state
            if !["waiting", "scanned", "approved"].contains(state) { break }
        }
        return state
    }

    /// Every call may be repeated: the same user gets the same answer.
    private func call(
        _ method: String, _ path: String, body: [String: String]? = nil, claim: String? = nil
    ) async throws -> Answer {
        var pause: UInt64 = 1
        for attempt in 1...6 {
            do {
                return try await once(method, path, body, claim)
            } catch let refused as Refused {
                if ![429, 503].contains(refused.status) || attempt == 6 { throw refused }
            } catch let lost as URLError {
                if attempt == 6 { throw lost }
            }
            try await Task.sleep(nanoseconds: pause * 1_000_000_000)
            pause *= 2
        }
        fatalError("unreachable")
    }

    private func once(_ method: String, _ path: String, _ body: [String: String]?, _ claim: String?) async throws -> Answer {
        var request = URLRequest(url: URL(string: service + path)!, timeoutInterval: 20)
        request.httpMethod = method
        request.setValue("Bearer \(try await appToken())", forHTTPHeaderField: "Authorization")
        if let claim { request.setValue(claim, forHTTPHeaderField: "Scanlogin-Claim") }
        if let body {
            request.setValue("application/json", forHTTPHeaderField: "Content-Type")
            request.httpBody = try JSONEncoder().encode(body)
        }
        let (data, response) = try await URLSession.shared.data(for: request)
        let status = (response as? HTTPURLResponse)?.statusCode ?? 0
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        // What stands in between may answer with something else.
        guard let answer = try? decoder.decode(Answer.self, from: data) else { throw URLError(.badServerResponse) }
        if status == 200 { return answer }
        throw Refused(
            status: status, code: answer.code, triesLeft: answer.triesLeft, isKey: answer.isKey ?? true, message: answer.msg
        )
    }
}
