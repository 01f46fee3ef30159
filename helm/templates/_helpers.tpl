{{- define "scanlogin.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- /* 53 characters leave room for the suffixes, within the 63 of a DNS label. */ -}}
{{- define "scanlogin.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains (include "scanlogin.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "scanlogin.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "scanlogin.selectorLabels" -}}
app.kubernetes.io/name: {{ include "scanlogin.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "scanlogin.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "scanlogin.labels" -}}
{{ include "scanlogin.selectorLabels" . }}
{{ include "scanlogin.commonLabels" . }}
{{- end -}}

{{- define "scanlogin.trialSelectorLabels" -}}
app.kubernetes.io/name: {{ include "scanlogin.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: trial-redis
{{- end -}}

{{- define "scanlogin.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "scanlogin.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* A digest names one image for ever, a tag may be moved: the digest wins. */ -}}
{{- define "scanlogin.image" -}}
{{- $tag := default .root.Chart.AppVersion .image.tag -}}
{{- if .image.digest -}}
{{- printf "%s:%s@%s" .image.repository $tag .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "scanlogin.gracePeriod" -}}
{{- $least := add .Values.preStopSeconds .Values.config.drainSeconds -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add $least 10 -}}
{{- else if le (int64 .Values.terminationGracePeriodSeconds) $least -}}
{{- fail (printf "terminationGracePeriodSeconds (%d) must be above preStopSeconds + config.drainSeconds (%d): the pod would be killed while its browsers are still moving" (int64 .Values.terminationGracePeriodSeconds) $least) -}}
{{- else -}}
{{- int64 .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{- define "scanlogin.adminTokenSecret" -}}
{{- default (printf "%s-admin-token" (include "scanlogin.fullname" .)) .Values.adminToken.existingSecret -}}
{{- end -}}

{{- /*
The mounted secrets: one entry each for the volume, the mount and the variable, so that the three cannot disagree.
Files, not variables: an environment is inherited by every child and shown by `kubectl describe` and crash reports.
*/ -}}
{{- define "scanlogin.secretFiles" -}}
{{- $files := list -}}
{{- with .Values.appJwt.secret -}}{{- if .existingSecret -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_APP_JWT_SECRET_FILE" "name" "app-jwt" "secret" .existingSecret "key" .key) -}}
{{- end -}}{{- end -}}
{{- with .Values.appJwt.previousSecret -}}{{- if .existingSecret -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_APP_JWT_SECRET_PREVIOUS_FILE" "name" "app-jwt-previous" "secret" .existingSecret "key" .key) -}}
{{- end -}}{{- end -}}
{{- with .Values.appJwt.publicKey -}}{{- if .existingSecret -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_APP_JWT_PUBLIC_KEY_FILE" "name" "app-jwt" "secret" .existingSecret "key" .key) -}}
{{- end -}}{{- end -}}
{{- with .Values.token.secret -}}{{- if .existingSecret -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_TOKEN_SECRET_FILE" "name" "token" "secret" .existingSecret "key" .key) -}}
{{- end -}}{{- end -}}
{{- with .Values.token.previousSecret -}}{{- if .existingSecret -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_TOKEN_SECRET_PREVIOUS_FILE" "name" "token-previous" "secret" .existingSecret "key" .key) -}}
{{- end -}}{{- end -}}
{{- with .Values.token.privateKey -}}{{- if .existingSecret -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_TOKEN_PRIVATE_KEY_FILE" "name" "token" "secret" .existingSecret "key" .key) -}}
{{- end -}}{{- end -}}
{{- with .Values.token.webhook -}}{{- if .url -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_TOKEN_WEBHOOK_SECRET_FILE" "name" "token" "secret" .existingSecret "key" .key) -}}
{{- end -}}{{- end -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_ADMIN_TOKEN_FILE" "name" "admin-token" "secret" (include "scanlogin.adminTokenSecret" .) "key" .Values.adminToken.key) -}}
{{- with .Values.redis -}}
{{- if .existingSecret -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_REDIS_URL_FILE" "name" "redis" "secret" .existingSecret "key" .key) -}}
{{- end -}}
{{- with .tls -}}{{- if .existingSecret -}}
{{- if .caKey -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_REDIS_CA_FILE" "name" "redis-ca" "secret" .existingSecret "key" .caKey) -}}
{{- end -}}
{{- if .certKey -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_REDIS_CERT_FILE" "name" "redis-cert" "secret" .existingSecret "key" .certKey) -}}
{{- $files = append $files (dict "variable" "SCANLOGIN_REDIS_KEY_FILE" "name" "redis-key" "secret" .existingSecret "key" .keyKey) -}}
{{- end -}}
{{- end -}}{{- end -}}
{{- end -}}
{{- dict "files" $files | toJson -}}
{{- end -}}

{{- /* What the schema cannot say in words that help. */ -}}
{{- define "scanlogin.check" -}}
{{- if and (eq .Values.config.deliver "ticket") (or (not .Values.config.allowedOrigins) (has "*" .Values.config.allowedOrigins)) -}}
{{- fail "config.deliver=ticket needs config.allowedOrigins to list the pages' exact origins, without *: only they may set the cookie" -}}
{{- end -}}
{{- $app := compact (list .Values.appJwt.secret.existingSecret .Values.appJwt.publicKey.existingSecret .Values.appJwt.jwksUrl) -}}
{{- if ne (len $app) 1 -}}
{{- fail "set exactly one of appJwt.secret.existingSecret, appJwt.publicKey.existingSecret and appJwt.jwksUrl: it verifies the phones" -}}
{{- end -}}
{{- $token := compact (list .Values.token.secret.existingSecret .Values.token.privateKey.existingSecret .Values.token.webhook.url) -}}
{{- if ne (len $token) 1 -}}
{{- fail "set exactly one of token.secret.existingSecret, token.privateKey.existingSecret and token.webhook.url: it makes the web tokens" -}}
{{- end -}}
{{- if ne (empty .Values.token.webhook.url) (empty .Values.token.webhook.existingSecret) -}}
{{- fail "token.webhook.url and token.webhook.existingSecret go together" -}}
{{- end -}}
{{- if and .Values.token.webhook.url .Values.token.previousSecret.existingSecret -}}
{{- fail "token.previousSecret belongs to token.secret or token.privateKey: the webhook's tokens are its own" -}}
{{- end -}}
{{- if eq (empty .Values.redis.existingSecret) (not .Values.trialRedis.enabled) -}}
{{- fail "set either redis.existingSecret or trialRedis.enabled: several pods need one store, and the embedded one is a single process's" -}}
{{- end -}}
{{- if ne (empty .Values.redis.tls.certKey) (empty .Values.redis.tls.keyKey) -}}
{{- fail "redis.tls.certKey and redis.tls.keyKey go together" -}}
{{- end -}}
{{- if and (ne .Values.config.match "off") (ne .Values.config.confirm "required") -}}
{{- fail "config.match needs config.confirm=required: the number is typed at the confirmation" -}}
{{- end -}}
{{- if and .Values.config.rotateSeconds (gt (int64 .Values.config.rotateSeconds) (int64 .Values.config.waitSeconds)) -}}
{{- fail "config.rotateSeconds must not be above config.waitSeconds" -}}
{{- end -}}
{{- if and .Values.config.rotateSeconds (gt (int64 .Values.config.waitSeconds) (mul 32 (int64 .Values.config.rotateSeconds))) -}}
{{- fail "config.waitSeconds holds more than 32 codes of config.rotateSeconds: the service refuses that" -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled -}}
{{- fail "monitoring.serviceMonitor and monitoring.podMonitor together would count everything twice" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (empty .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs ingress.hosts" -}}
{{- end -}}
{{- if and .Values.gateway.enabled (empty .Values.gateway.parentRefs) -}}
{{- fail "gateway.enabled needs gateway.parentRefs" -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- if gt (int64 .Values.autoscaling.minReplicas) (int64 .Values.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- if not (or .Values.autoscaling.targetCPUUtilizationPercentage .Values.autoscaling.targetWaitingSockets) -}}
{{- fail "autoscaling.enabled needs targetCPUUtilizationPercentage or targetWaitingSockets" -}}
{{- end -}}
{{- end -}}
{{- end -}}
