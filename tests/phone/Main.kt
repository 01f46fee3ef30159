// Plays an app for phone.test.js: service, app token and code, and then what the person decides each time they are asked.
import com.example.scanlogin.Decision
import com.example.scanlogin.Question
import com.example.scanlogin.Refused
import com.example.scanlogin.ScanLogin

fun main(arguments: Array<String>) {
    try {
        play(arguments)
    } catch (refused: Refused) {
        if (refused.code != -1) throw refused
        println(if (refused.isKey) "expired" else "no login code")
    }
}

private fun play(arguments: Array<String>) {
    val (service, token, code) = arguments
    val decisions = arguments.drop(3).iterator()
    fun show(question: Question, triesLeft: Int?) =
        println("asked: ${question.page} ${question.browser} ${question.flags} ${question.needsDigits} $triesLeft")
    fun decisionOfThePerson() = when (val decision = decisions.next()) {
        "decline" -> Decision.Decline
        "approve" -> Decision.Approve()
        else -> Decision.Approve(digits = decision)
    }
    val outcome = ScanLogin(service) { token }.logIn(code) { question, triesLeft ->
        show(question, triesLeft)
        decisionOfThePerson()
    }
    println("outcome: $outcome")
}
