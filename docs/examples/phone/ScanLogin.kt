// Logs a browser in: what an app does once its camera has read a code. Nothing but what Android has (HttpURLConnection,
// org.json). Call it from a background thread, for example withContext(Dispatchers.IO).
package com.example.scanlogin

import java.io.IOException
import java.net.HttpURLConnection
import java.net.URL
import org.json.JSONObject

/**
 * The service said no. `triesLeft`: the digits were wrong, and so many tries are left. `isKey` is false where no login code was
 * scanned at all: then nothing has expired.
 */
class Refused(val status: Int, val code: Int, val triesLeft: Int?, val isKey: Boolean, message: String) : Exception(message)

/**
 * What a person must see before they decide. Address, age, flags and digits are evidence: the service has seen them itself. Page and
 * browser are what the asker says of itself, and any program can say the same; mark them so. `page` is null where no page asks.
 */
class Question(
    val address: String,
    val ageMs: Long,
    val flags: List<String>,
    val needsDigits: Boolean,
    val page: String?,
    val browser: String,
)

sealed interface Decision {
    object Decline : Decision
    class Approve(val digits: String? = null) : Decision
}

/** `service`: your own, never taken from a code. `appToken`: a fresh JWT of the user who is logged in to the app. */
class ScanLogin(private val service: String, private val appToken: () -> String) {
    /** Returns how it ended: delivered, denied, undelivered, expired or cancelled. `ask` may be asked again. */
    fun logIn(code: String, ask: (Question, triesLeft: Int?) -> Decision): String {
        // The service finds the key in it, also behind `%23` for `#`, and before what messengers add to an address.
        require("$service/s" in code) { "This code is not one of ours" }
        val scan = call("POST", "/scan", JSONObject().put("key", code))
        val claim = scan.getString("claim")
        // Without facts it was decided before: this scan was a repetition.
        if (scan.getInt("code") == 101 && scan.has("browser")) decide(claim, question(scan), ask)
        return outcome(claim)
    }

    private fun decide(claim: String, question: Question, ask: (Question, Int?) -> Decision) {
        var triesLeft: Int? = null
        while (true) {
            val body = JSONObject().put("claim", claim)
            when (val decision = ask(question, triesLeft)) {
                is Decision.Decline -> {
                    call("POST", "/scan/deny", body)
                    return
                }
                is Decision.Approve -> try {
                    decision.digits?.let { body.put("match", it) }
                    call("POST", "/scan/confirm", body)
                    return
                } catch (refused: Refused) {
                    triesLeft = refused.triesLeft ?: throw refused
                    // The third wrong number denies the login; the outcome says so.
                    if (triesLeft == 0) return
                }
            }
        }
    }

    /** Only `delivered` means that the browser has it. */
    private fun outcome(claim: String): String {
        var state = "approved"
        repeat(20) {
            state = call("GET", "/scan/outcome?wait=10", claim = claim).getString("state")
            if (state !in listOf("waiting", "scanned", "approved")) return state
        }
        return state
    }

    private fun question(scan: JSONObject): Question {
        val browser = scan.getJSONObject("browser")
        val flags = scan.getJSONArray("flags")
        return Question(
            address = browser.getString("ip"),
            ageMs = browser.getLong("age_ms"),
            flags = (0 until flags.length()).map { flags.getString(it) },
            needsDigits = scan.optBoolean("match"),
            page = browser.getString("origin").ifEmpty { null },
            browser = browser.getString("browser_name"),
        )
    }

    /** Every call may be repeated: the same user gets the same answer. */
    private fun call(method: String, path: String, body: JSONObject? = null, claim: String? = null): JSONObject {
        var pause = 1L
        for (attempt in 1..6) {
            try {
                return once(method, path, body, claim)
            } catch (refused: Refused) {
                if (refused.status !in listOf(429, 503) || attempt == 6) throw refused
            } catch (lost: IOException) {
                if (attempt == 6) throw lost
            }
            Thread.sleep(pause * 1000)
            pause *= 2
        }
        error("unreachable")
    }

    private fun once(method: String, path: String, body: JSONObject?, claim: String?): JSONObject {
        val connection = URL(service + path).openConnection() as HttpURLConnection
        try {
            connection.requestMethod = method
            connection.connectTimeout = 5_000
            connection.readTimeout = 20_000
            connection.setRequestProperty("Authorization", "Bearer ${appToken()}")
            claim?.let { connection.setRequestProperty("Scanlogin-Claim", it) }
            body?.let {
                connection.doOutput = true
                connection.setRequestProperty("Content-Type", "application/json")
                connection.outputStream.use { stream -> stream.write(it.toString().toByteArray()) }
            }
            val status = connection.responseCode
            val stream = if (status < 400) connection.inputStream else connection.errorStream
            val text = stream?.use { it.readBytes().decodeToString() } ?: throw IOException("HTTP $status")
            val answer = JSONObject(text)
            if (status == 200) return answer
            val triesLeft = if (answer.has("tries_left")) answer.getInt("tries_left") else null
            throw Refused(status, answer.optInt("code"), triesLeft, answer.optBoolean("is_key", true), answer.optString("msg"))
        } finally {
            connection.disconnect()
        }
    }
}
