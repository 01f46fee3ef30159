// Logs a browser in: what an app does once its camera has read a code. Nothing but dart:io, for Flutter on phones.
import 'dart:async';
import 'dart:convert';
import 'dart:io';

/// The service said no. `triesLeft`: the digits were wrong, and so many tries are left. `isKey` is false where no login code was
/// scanned at all: then nothing has expired.
class Refused implements Exception {
  Refused(this.status, this.code, this.triesLeft, this.isKey, this.message);
  final int status;
  final int? code;
  final int? triesLeft;
  final bool isKey;
  final String message;
}

/// What a person must see before they decide. Address, age, flags and digits are evidence: the service has seen them itself. Page and
/// browser are what the asker says of itself, and any program can say the same; mark them so. `page` is empty where no page asks.
class Question {
  Question(Map<String, dynamic> scan)
      : address = scan['browser']['ip'],
        age = Duration(milliseconds: scan['browser']['age_ms']),
        flags = List<String>.from(scan['flags']),
        needsDigits = scan['match'] == true,
        page = scan['browser']['origin'],
        browser = scan['browser']['browser_name'];
  final String address;
  final Duration age;
  final List<String> flags;
  final bool needsDigits;
  final String page;
  final String browser;
}

class Decision {
  const Decision.decline() : approved = false, digits = null;
  const Decision.approve([this.digits]) : approved = true;
  final bool approved;
  final String? digits;
}

typedef Ask = Future<Decision> Function(Question question, int? triesLeft);

class ScanLogin {
  /// `service`: your own, never taken from a code. `appToken`: a fresh JWT of the user who is logged in to the app.
  ScanLogin(this.service, this.appToken);
  final String service;
  final Future<String> Function() appToken;
  final HttpClient _http = HttpClient()..connectionTimeout = const Duration(seconds: 5);

  /// Returns how it ended: delivered, denied, undelivered, expired or cancelled. `ask` may be asked again.
  Future<String> logIn(String code, Ask ask) async {
    // The service finds the key in it, also behind `%23` for `#`, and before what messengers add to an address.
    if (!code.contains('$service/s')) throw ArgumentError('This code is not one of ours');
    final scan = await _call('POST', '/scan', body: {'key': code});
    final String claim = scan['claim'];
    // Without facts it was decided before: this scan was a repetition.
    if (scan['code'] == 101 && scan['browser'] != null) await _decide(claim, Question(scan), ask);
    return _outcome(claim);
  }

  Future<void> _decide(String claim, Question question, Ask ask) async {
    int? triesLeft;
    while (true) {
      final decision = await ask(question, triesLeft);
      if (!decision.approved) {
        await _call('POST', '/scan/deny', body: {'claim': claim});
        return;
      }
      try {
        final digits = decision.digits;
        await _call('POST', '/scan/confirm', body: {'claim': claim, if (digits != null) 'match': digits});
        return;
      } on Refused catch (refused) {
        triesLeft = refused.triesLeft;
        if (triesLeft == null) rethrow;
        // The third wrong number denies the login; the outcome says so.
        if (triesLeft == 0) return;
      }
    }
  }

  /// Only `delivered` means that the browser has it.
  Future<String> _outcome(String claim) async {
    var state = 'approved';
    for (var i = 0; i < 20; i++) {
      state = (await _call('GET', '/scan/outcome?wait=10', claim: claim))['state'];
      if (!['waiting', 'scanned', 'approved'].contains(state)) break;
    }
    return state;
  }

  /// Every call may be repeated: the same user gets the same answer.
  Future<Map<String, dynamic>> _call(String method, String path, {Map<String, String>? body, String? claim}) async {
    var pause = const Duration(seconds: 1);
    for (var attempt = 1; ; attempt++) {
      try {
        return await _once(method, path, body, claim).timeout(const Duration(seconds: 20));
      } on Refused catch (refused) {
        if (![429, 503].contains(refused.status) || attempt == 6) rethrow;
      } on IOException {
        if (attempt == 6) rethrow;
      } on TimeoutException {
        if (attempt == 6) rethrow;
      }
      await Future<void>.delayed(pause);
      pause *= 2;
    }
  }

  Future<Map<String, dynamic>> _once(String method, String path, Map<String, String>? body, String? claim) async {
    final request = await _http.openUrl(method, Uri.parse('$service$path'));
    request.headers.set('Authorization', 'Bearer ${await appToken()}');
    if (claim != null) request.headers.set('Scanlogin-Claim', claim);
    if (body != null) {
      request.headers.contentType = ContentType.json;
      request.write(jsonEncode(body));
    }
    final response = await request.close();
    final text = await response.transform(utf8.decoder).join();
    final dynamic answer;
    try {
      answer = jsonDecode(text);
    } on FormatException {
      // What stands in between may answer with something else.
      throw HttpException('HTTP ${response.statusCode}');
    }
    if (response.statusCode == 200) return answer as Map<String, dynamic>;
    throw Refused(response.statusCode, answer['code'], answer['tries_left'], answer['is_key'] != false, '${answer['msg']}');
  }
}
