// Package replicas runs several real servers on one PostgreSQL and one Redis and
// shows that what one of them acknowledges counts on all of them with the next
// request, whatever happens to Redis, to the database and to one of the servers.
package replicas
