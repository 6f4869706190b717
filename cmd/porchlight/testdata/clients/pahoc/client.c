// An MQTT client in Paho C that does what it is told and says what it sees. Steps and answers are
// those of ../mqttjs/client.js, where they are described; URL here is ssl://.
//
//	cc -o client client.c -lpaho-mqtt3cs -lpthread

#define _GNU_SOURCE // memmem

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <MQTTClient.h>

enum { PATIENCE = 30 }; // seconds for whatever must come

static MQTTClient client;
static int version; // MQTTVERSION_3_1_1 or MQTTVERSION_5

// What the library's threads have heard. lock guards it, news is signalled at each change.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
static struct message {
	char *topic, *payload;
	int length;
} heard[1024];
static int first, last;  // heard[first] to heard[last-1] were not asked for yet
static int acked;        // the code of the last PUBACK, -1: none yet
static int disconnected; // the code of the server's DISCONNECT, -1: none
static int ended;

static int arrived(void *context, char *topic, int length, MQTTClient_message *m) {
	(void)context;
	(void)length;
	pthread_mutex_lock(&lock);
	if (last < (int)(sizeof heard / sizeof heard[0])) {
		heard[last].topic = strdup(topic);
		heard[last].payload = malloc(m->payloadlen + 1);
		memcpy(heard[last].payload, m->payload, m->payloadlen);
		heard[last++].length = m->payloadlen;
	}
	pthread_cond_broadcast(&news);
	pthread_mutex_unlock(&lock);
	MQTTClient_freeMessage(&m);
	MQTTClient_free(topic);
	return 1;
}

static void set(int *what, int value) {
	pthread_mutex_lock(&lock);
	*what = value;
	pthread_cond_broadcast(&news);
	pthread_mutex_unlock(&lock);
}

static void lost(void *context, char *cause) {
	(void)context;
	(void)cause;
	set(&ended, 1);
}

static void told(void *context, MQTTProperties *properties, enum MQTTReasonCodes code) {
	(void)context;
	(void)properties;
	set(&disconnected, code);
	set(&ended, 1); // the library does not say so itself
}

static void delivered(void *context, MQTTClient_deliveryToken token) {
	(void)context;
	(void)token;
	if (version != MQTTVERSION_5)
		set(&acked, 0);
}

static void published(void *context, int token, int packet, MQTTProperties *properties, enum MQTTReasonCodes code) {
	(void)context;
	(void)token;
	(void)packet;
	(void)properties;
	set(&acked, code);
}

// more waits for news until deadline; the caller holds the lock.
static int more(const struct timespec *deadline) {
	return pthread_cond_timedwait(&news, &lock, deadline) != ETIMEDOUT;
}

static struct timespec deadline(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += PATIENCE;
	return t;
}

// arg returns the value of key= in line, or NULL. It ends at the next space.
static char *arg(const char *line, const char *key) {
	static char values[16][1 << 17];
	static int next;
	size_t n = strlen(key);
	for (const char *at = strchr(line, ' '); at; at = strchr(at, ' ')) {
		if (strncmp(++at, key, n) == 0 && at[n] == '=') {
			char *value = values[next++ % 16];
			size_t length = strcspn(at + n + 1, " \n");
			memcpy(value, at + n + 1, length);
			value[length] = 0;
			return value;
		}
	}
	return NULL;
}

static void connect_step(const char *line) {
	char *will = arg(line, "will");
	int keep = arg(line, "keep") != NULL, code;
	MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
	MQTTClient_connectOptions o = MQTTClient_connectOptions_initializer;
	MQTTClient_connectOptions o5 = MQTTClient_connectOptions_initializer5;
	MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
	MQTTClient_willOptions last_will = MQTTClient_willOptions_initializer;
	MQTTProperties properties = MQTTProperties_initializer;

	create.MQTTVersion = version;
	code = MQTTClient_createWithOptions(&client, getenv("URL"), arg(line, "id"), MQTTCLIENT_PERSISTENCE_NONE, NULL, &create);
	if (code != MQTTCLIENT_SUCCESS) {
		printf("held back: %d\n", code);
		return;
	}
	MQTTClient_setCallbacks(client, NULL, lost, arrived, delivered);
	MQTTClient_setDisconnected(client, NULL, told);
	MQTTClient_setPublished(client, NULL, published);
	first = last = ended = 0;
	disconnected = -1;
	if (version == MQTTVERSION_5) {
		o = o5;
		o.cleanstart = !keep;
	} else {
		o.cleansession = !keep;
	}
	tls.trustStore = getenv("CA");
	tls.enableServerCertAuth = 1;
	tls.verify = 1;
	last_will.topicName = will;
	last_will.message = "forged";
	o.MQTTVersion = version;
	o.ssl = &tls;
	o.will = will ? &last_will : NULL;
	o.username = arg(line, "user");
	o.password = arg(line, "password");
	o.connectTimeout = PATIENCE;
	o.keepAliveInterval = 60;
	if (version == MQTTVERSION_5) {
		if (keep) {
			MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, .value.integer4 = 3600};
			MQTTProperties_add(&properties, &expiry);
		}
		MQTTResponse r = MQTTClient_connect5(client, &o, &properties, NULL);
		code = r.reasonCode;
		MQTTResponse_free(r);
		MQTTProperties_free(&properties);
	} else {
		code = MQTTClient_connect(client, &o);
	}
	if (code < 0)
		printf("closed: %s\n", MQTTClient_strerror(code));
	else
		printf("CONNACK 0x%02x%s\n", code, code == 0 && o.returned.sessionPresent ? ", session present" : "");
}

static void subscribe_step(const char *line) {
	int code;
	if (version == MQTTVERSION_5) {
		MQTTResponse r = MQTTClient_subscribe5(client, arg(line, "filter"), 1, NULL, NULL);
		code = r.reasonCode;
		MQTTResponse_free(r);
	} else if ((code = MQTTClient_subscribe(client, arg(line, "filter"), 1)) == MQTTCLIENT_SUCCESS) {
		code = 1; // granted what was asked for
	}
	if (code == MQTTCLIENT_DISCONNECTED || !MQTTClient_isConnected(client))
		puts("ended");
	else if (code < 0)
		printf("held back: %s\n", MQTTClient_strerror(code));
	else
		printf("SUBACK 0x%02x\n", code);
}

static void publish_step(const char *line) {
	char *hex = arg(line, "payload"), *alias = arg(line, "alias");
	MQTTClient_message m = MQTTClient_message_initializer;
	MQTTProperties properties = MQTTProperties_initializer;
	MQTTClient_deliveryToken token;
	unsigned char *payload = malloc(strlen(hex) / 2 + 1);
	int code;

	for (m.payloadlen = 0; hex[2 * m.payloadlen]; m.payloadlen++)
		sscanf(hex + 2 * m.payloadlen, "%2hhx", payload + m.payloadlen);
	m.payload = payload;
	m.qos = atoi(arg(line, "qos"));
	m.retained = arg(line, "retain") != NULL;
	set(&acked, -1);
	if (version == MQTTVERSION_5) {
		if (alias) {
			MQTTProperty p = {.identifier = MQTTPROPERTY_CODE_TOPIC_ALIAS, .value.integer2 = atoi(alias)};
			MQTTProperties_add(&properties, &p);
			m.properties = properties;
		}
		MQTTResponse r = MQTTClient_publishMessage5(client, arg(line, "topic"), &m, &token);
		code = r.reasonCode;
		MQTTResponse_free(r);
		MQTTProperties_free(&properties);
	} else {
		code = MQTTClient_publishMessage(client, arg(line, "topic"), &m, &token);
	}
	free(payload);
	if (code != MQTTCLIENT_SUCCESS) {
		if (MQTTClient_isConnected(client))
			printf("held back: %s\n", MQTTClient_strerror(code));
		else
			puts("ended");
		return;
	}
	if (m.qos == 0) {
		puts("");
		return;
	}
	struct timespec by = deadline();
	pthread_mutex_lock(&lock);
	while (acked < 0 && !ended && more(&by))
		;
	if (acked >= 0)
		printf("PUBACK 0x%02x\n", acked);
	else
		puts(ended ? "ended" : "silence");
	pthread_mutex_unlock(&lock);
}

static void await_step(const char *line) {
	char *text = arg(line, "text");
	struct timespec by = deadline();
	int waits = 1;
	pthread_mutex_lock(&lock);
	for (;;) {
		while (first == last && !ended && (waits = more(&by)))
			;
		if (first == last)
			break;
		struct message *m = &heard[first++];
		m->payload[m->length] = 0;
		int here = memmem(m->payload, m->length, text, strlen(text)) != NULL;
		if (!here) {
			printf("%s=", m->topic);
			for (int i = 0; i < m->length; i++)
				printf("%02x", (unsigned char)m->payload[i]);
			putchar(' ');
		}
		free(m->topic);
		free(m->payload);
		if (here) {
			puts("");
			pthread_mutex_unlock(&lock);
			return;
		}
	}
	if (!ended)
		puts("silence");
	else if (disconnected >= 0)
		printf("DISCONNECT=%02x\n", disconnected);
	else
		puts("closed");
	pthread_mutex_unlock(&lock);
}

int main(void) {
	static char line[1 << 17];
	version = atoi(getenv("VERSION"));
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof line, stdin)) {
		if (strncmp(line, "connect ", 8) == 0)
			connect_step(line);
		else if (strncmp(line, "subscribe ", 10) == 0)
			subscribe_step(line);
		else if (strncmp(line, "publish ", 8) == 0)
			publish_step(line);
		else if (strncmp(line, "await ", 6) == 0)
			await_step(line);
		else if (strncmp(line, "leave", 5) == 0) {
			MQTTClient_disconnect(client, 0);
			MQTTClient_destroy(&client);
			puts("left");
		}
	}
	return 0;
}
